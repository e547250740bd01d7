"""The cache of samples is never another dataset's, and never stale."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from cached import CELEB, MASKS, RESOLUTION, check_same, no_reading, read
from drawn import COUNTS, SIDE, write_dataset
from PIL import Image

import datasets.cache
from datasets import DATASETS, LABELS, create_dataset


def set_mask(root, part, left, right, time=1_000):
    """A mask of 0, over the columns from ``left`` to ``right``; its file has the same size wherever it is."""
    pixels = np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)
    pixels[8:20, left:right] = 255
    path = root / MASKS / f"00000_{part}.png"
    Image.fromarray(pixels).save(path, compress_level=0)
    os.utime(path, ns=(time, time))


def check_differs_and_is_fresh(name, root, cache, before, **options):
    """Samples are not those of ``before``, with and without the cache, which has kept the new ones."""
    expected = read(name, root, **options)
    with pytest.raises(AssertionError):
        check_same(before, expected)
    for _ in range(2):
        check_same(read(name, root, cache, **options), expected)


def test_another_root_has_other_entries(copy, tmp_path, any_cache):
    root = copy(CELEB)
    set_mask(root, "nose", 2, 12)
    other = shutil.copytree(root, tmp_path / "other")  # with all times
    set_mask(other, "nose", 12, 30)
    before = read(CELEB, root, any_cache)
    check_differs_and_is_fresh(CELEB, other, any_cache, before)
    check_same(read(CELEB, root, any_cache), before)


@pytest.mark.parametrize("swapped", [("nose", "hair"), ("eye_g",)])  # with the second, the files keep their order
def test_another_order_of_painting_has_other_entries(swapped, copy, any_cache, monkeypatch):
    root = copy(CELEB)
    for part in swapped:
        set_mask(root, part, 2, 20)
    before = read(CELEB, root, any_cache)
    labels = LABELS[CELEB]
    names = list(labels.names)
    one, other = (names.index(part) for part in ("hat", *swapped)[-2:])
    names[one], names[other] = names[other], names[one]
    monkeypatch.setattr(DATASETS[CELEB], "labels", replace(labels, names=tuple(names)))
    check_differs_and_is_fresh(CELEB, root, any_cache, before)


@pytest.mark.parametrize(("module", "name"), [(datasets.cache, "VERSION"), (datasets.cache.PIL, "__version__")])
def test_another_version_has_other_entries(module, name, roots, cache, monkeypatch):
    read(CELEB, roots[CELEB], cache)
    monkeypatch.setattr(module, name, "another")
    monkeypatch.setattr(datasets.cache.Entry, "write", no_reading)
    with pytest.raises(AssertionError):
        read(CELEB, roots[CELEB], cache)


def test_another_resolution_has_other_entries(roots, cache):
    for size in (32, 48, 32):
        expected = read("helen", roots["helen"], resolution=size)
        check_same(read("helen", roots["helen"], cache, resolution=size), expected)


MASK_CHANGES = {
    "content and time": lambda root: set_mask(root, "nose", 12, 30, time=2_000),
    "size alone": lambda root: append(root / MASKS / "00000_nose.png", time=1_000),
    "added": lambda root: set_mask(root, "hat", 2, 30),
    "removed": lambda root: (root / MASKS / "00000_nose.png").unlink(),
    "named otherwise": lambda root: (root / MASKS / "00000_hair.png").rename(root / MASKS / "00000_hat.png"),
}


def append(path, time):
    """Another mask in a file of another size with the same time."""
    white = np.full((SIDE // 2, SIDE // 2, 3), 255, np.uint8)
    Image.fromarray(white).save(path)
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("change", MASK_CHANGES)
def test_changed_masks_are_composed_again(change, copy, any_cache):
    root = copy(CELEB)
    set_mask(root, "nose", 2, 12)
    before = read(CELEB, root, any_cache)
    MASK_CHANGES[change](root)
    check_differs_and_is_fresh(CELEB, root, any_cache, before)


FILES = {
    CELEB: ("CelebA-HQ-img/0.jpg",),
    "lapa": ("train/images/0_0.jpg", "train/labels/0_0.png", "train/landmarks/0_0.txt"),
    "helen": ("train/train0_1_image.jpg", "train/train0_1_label.png"),
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_every_changed_file_makes_a_new_sample(name, file, copy, cache):
    root = copy(name)
    before = read(name, root, cache, augment=False)
    path = root / file
    shutil.copyfile(path.with_name(path.name.replace("0", "1", 1)), path)  # another face's
    check_differs_and_is_fresh(name, root, cache, before, augment=False)


def test_changed_landmarks_of_helen_make_new_samples_of_their_faces_alone(copy, cache, monkeypatch):
    root = copy("helen")
    path = root / "landmarks.txt"
    before = read("helen", root, cache)
    stat = path.stat()
    lines = path.read_text().splitlines()
    lines[0] = f"{lines[0].replace('1', '2').rpartition(' ')[0]} train0_1"
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check_differs_and_is_fresh("helen", root, cache, before)

    # What is in the file by now is not what a dataset has read before.
    dataset = create_dataset("helen", root, "test", RESOLUTION, cache=cache)
    expected = list(create_dataset("helen", root, "test", RESOLUTION))
    path.write_text("")
    check_same(list(dataset), expected)


def test_a_dataset_drawn_anew_at_the_same_root_is_read_anew(tmp_path, any_cache):
    root = write_dataset(CELEB, tmp_path / "data", COUNTS, SIDE)
    before = read(CELEB, root, any_cache)
    shutil.rmtree(root)
    write_dataset(CELEB, tmp_path / "data", {"train": 2, "val": 3, "test": 2}, SIDE)
    for index in range(2):  # other faces under the same names
        shutil.copyfile(root / "CelebA-HQ-img" / f"{index + 3}.jpg", root / "CelebA-HQ-img" / f"{index}.jpg")
        for mask in (root / MASKS).glob(f"{index + 3:05d}_*"):
            shutil.copyfile(mask, mask.with_name(f"{index:05d}_{mask.name[6:]}"))
    check_differs_and_is_fresh(CELEB, root, any_cache, before[:2])


def test_what_changes_while_it_is_read_is_read_again(copy, any_cache, monkeypatch):
    root = copy(CELEB)
    set_mask(root, "nose", 2, 12)
    compose = DATASETS[CELEB].read_label

    def change_after_composing(*args):
        label = compose(*args)
        set_mask(root, "nose", 12, 30, time=2_000)
        return label

    with monkeypatch.context() as patch:
        patch.setattr(DATASETS[CELEB], "read_label", change_after_composing)
        before = create_dataset(CELEB, root, "train", RESOLUTION, cache=any_cache)[0]
    check_differs_and_is_fresh(CELEB, root, any_cache, [before] * COUNTS["train"])
