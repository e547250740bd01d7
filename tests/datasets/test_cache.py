"""The cache of samples: it changes no sample, is never stale, mends itself, and never stands in the way."""

import errno
import os
import re
import resource
import shutil
from collections import namedtuple
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import write_dataset
from PIL import Image
from torch.utils.data import DataLoader

import datasets.cache
from datasets import DATASETS, LABELS, DataError, SampleCache, create_dataset

COUNTS = {"train": 3, "val": 2, "test": 2}
SIDE, RESOLUTION = 64, 32
CELEB, MASKS = "celebamask_hq", "CelebAMask-HQ-mask-anno/0"
RESERVE = datasets.cache.RESERVE
GONE = "; going on without caching what is not there yet"


@pytest.fixture(autouse=True)
def _any_disk_will_do(monkeypatch):
    monkeypatch.setattr(datasets.cache, "RESERVE", dict.fromkeys(datasets.cache.RESERVE, 0))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    data_path = tmp_path_factory.mktemp("data")
    return {name: write_dataset(name, data_path, COUNTS, SIDE) for name in LABELS}


@pytest.fixture
def copy(roots, tmp_path):
    """A copy of a drawn dataset, to change."""
    return lambda name: shutil.copytree(roots[name], tmp_path / "data" / name)


@pytest.fixture
def cache(tmp_path):
    return SampleCache(tmp_path / "cache", images=True)


def read(name, root, cache=None, split="train", resolution=RESOLUTION, **options):
    """All samples of a split."""
    return list(create_dataset(name, root, split, resolution, cache=cache, **options))


def entries(cache, suffix="*"):
    """The files of a cache, whose names with a dot in front would be temporary."""
    return sorted(path for path in cache.folder.rglob(f"*.{suffix}") if path.is_file())


def check_same(samples, expected):
    assert len(samples) == len(expected) > 0
    for ours, theirs in zip(samples, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["name"] == theirs["name"]
        for key in ("image", "label", "landmarks"):
            assert ours[key].dtype == theirs[key].dtype
            assert torch.equal(ours[key], theirs[key])


# Samples are the same, and made once


@pytest.mark.parametrize("images", [False, True], ids=["labels", "images"])
@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("name", LABELS)
def test_samples_are_the_same_with_and_without(name, split, images, roots, tmp_path):
    cache = SampleCache(tmp_path, images)
    plain = create_dataset(name, roots[name], split, RESOLUTION)
    cached = create_dataset(name, roots[name], split, RESOLUTION, cache=cache)
    for epoch in range(3):  # the first fills the cache
        for dataset in (plain, cached):
            dataset.set_epoch(epoch)
        check_same(list(cached), list(plain))
    assert cache.complaint() is None


def no_reading(*_):
    raise AssertionError("a file was read again")


@pytest.mark.parametrize("name", LABELS)
def test_a_kept_sample_is_not_made_again(name, roots, cache, monkeypatch):
    expected = read(name, roots[name], cache, augment=False)
    monkeypatch.setattr(DATASETS[name], "read", no_reading)
    check_same(read(name, roots[name], cache, augment=False), expected)


def test_a_kept_label_map_is_not_composed_again(roots, tmp_path, monkeypatch):
    cache = SampleCache(tmp_path)
    expected = read(CELEB, roots[CELEB], cache, resolution=48)
    monkeypatch.setattr(DATASETS[CELEB], "read_label", no_reading)
    check_same(read(CELEB, roots[CELEB], cache, resolution=48), expected)
    read(CELEB, roots[CELEB], cache, resolution=16)  # one map is for all resolutions


def test_label_maps_are_pngs_of_class_indices_before_resizing(roots, tmp_path):
    cache = SampleCache(tmp_path)
    read(CELEB, roots[CELEB], cache)
    dataset = create_dataset(CELEB, roots[CELEB], "train", RESOLUTION)
    assert [path.name for path in entries(cache)] == ["0.png", "1.png", "2.png"]
    for path, sample in zip(entries(cache), dataset.samples, strict=True):
        with Image.open(path) as label:
            assert label.mode == "L"
            assert (np.asarray(label) == np.asarray(dataset.read_label(sample, (SIDE, SIDE)))).all()
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask()  # others may read it if they may read the rest


def umask():
    old = os.umask(0)
    os.umask(old)
    return old


def test_only_what_saves_work_is_kept(roots, tmp_path):
    cache = SampleCache(tmp_path / "labels")
    read("lapa", roots["lapa"], cache)
    read("helen", roots["helen"], cache)
    assert not entries(cache)  # there is one label map on disk already
    cache = SampleCache(tmp_path / "images", images=True)
    read("lapa", roots["lapa"], cache)  # augmented: new in each epoch
    assert not entries(cache)
    for name, augment in (("lapa", False), ("helen", True), (CELEB, True)):
        before = len(entries(cache, "sample"))
        read(name, roots[name], cache, augment=augment)
        assert len(entries(cache, "sample")) - before == COUNTS["train"]


def test_validation_and_test_of_helen_share_their_entries(roots, cache):
    read("helen", roots["helen"], cache, "val")
    before = entries(cache)
    read("helen", roots["helen"], cache, "test")
    assert entries(cache) == before


# Never another dataset's, and never stale


def set_mask(root, part, left, right, time=1_000):
    """A mask of 0, over the columns from ``left`` to ``right``; its file has the same size wherever it is."""
    pixels = np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)
    pixels[8:20, left:right] = 255
    path = root / MASKS / f"00000_{part}.png"
    Image.fromarray(pixels).save(path, compress_level=0)
    os.utime(path, ns=(time, time))


@pytest.fixture(params=[False, True], ids=["labels", "images"])
def any_cache(request, tmp_path):
    return SampleCache(tmp_path / "cache", images=request.param)


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


# Damage


def foreign_label(value=0, side=SIDE // 2, mode="L"):
    def write(path):
        Image.new(mode, (side, side), value).save(path, "png")

    return write


def with_the_seal_of_before(write):
    """A foreign picture that ends like the entry."""

    def replace_content(path):
        seal = path.read_bytes()[-datasets.cache.SEAL_BYTES :]
        write(path)
        path.write_bytes(path.read_bytes() + seal)

    return replace_content


def change_byte(position):
    def change(path):
        data = bytearray(path.read_bytes())
        data[int(position * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return change


def directory(path, content=False):
    path.unlink()
    path.mkdir()
    if content:
        (path / "file").write_text("")


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut to its seal": lambda path: path.write_bytes(path.read_bytes()[-datasets.cache.SEAL_BYTES :]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    **{f"changed at {position}": change_byte(position) for position in (0, 0.2, 0.5, 0.8, 0.99, 1)},
    "a label map": foreign_label(),
    "a label map of another size": with_the_seal_of_before(foreign_label(side=7)),
    "a label map of another mode": with_the_seal_of_before(foreign_label(mode="P")),
    "a label map with another class": with_the_seal_of_before(foreign_label(value=200)),
    "a label map without a part": with_the_seal_of_before(foreign_label()),
    "another face's": lambda path: shutil.copyfile(path.with_stem("1"), path),
    "a folder": directory,
    "a folder with a file": lambda path: directory(path, content=True),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", ["png", "sample"])
def test_a_damaged_entry_is_made_again(suffix, damage, roots, tmp_path):
    cache = SampleCache(tmp_path, images=suffix == "sample")
    expected = read(CELEB, roots[CELEB], cache)
    path = entries(cache, suffix)[0]
    whole = path.read_bytes()
    DAMAGE[damage](path)
    check_same(read(CELEB, roots[CELEB], cache), expected)
    assert path.read_bytes() == whole
    assert cache.complaint() is None


# Where the disk refuses


def check_unwritten(cache, roots, reason):
    """Samples are right, nothing is left half written, and the complaint comes once."""
    for _ in range(2):
        check_same(read(CELEB, roots[CELEB], cache), read(CELEB, roots[CELEB]))
    assert not list(cache.folder.rglob("*.tmp"))
    assert cache.complaint() == f"could not write to {cache.folder}: {reason}{GONE}"
    read("helen", roots["helen"], cache)
    assert cache.complaint() is None


def test_a_file_in_place_of_the_folder(roots, cache):
    cache.folder.write_text("mine")
    check_unwritten(cache, roots, os.strerror(errno.ENOTDIR))
    assert cache.folder.read_text() == "mine"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_an_error_of_the_disk(call, error, roots, cache, monkeypatch):
    calls = []

    def refuse(path, *args, **kwargs):
        if cache.folder not in (path, *path.parents):
            return original(path, *args, **kwargs)
        calls.append(path)
        raise OSError(error, os.strerror(error), str(path))

    original = getattr(Path, call)
    monkeypatch.setattr(Path, call, refuse)
    check_unwritten(cache, roots, os.strerror(error))
    assert len(calls) == 2  # one for label maps and one for samples, and none after that


def test_a_limit_to_the_size_of_files(roots, cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # label maps fit, samples do not
    try:
        check_unwritten(cache, roots, os.strerror(errno.EFBIG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(entries(cache, "png")) == COUNTS["train"]
    assert not entries(cache, "sample")


Usage = namedtuple("Usage", "free")


def test_a_reserve_of_the_disk_is_left_for_checkpoints(roots, cache, monkeypatch):
    monkeypatch.setattr(datasets.cache, "RESERVE", RESERVE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2 * 2**30 - 1))
    check_unwritten(cache, roots, "its disk has less than 2 GiB left, which are for checkpoints")
    assert len(entries(cache, "png")) == COUNTS["train"]

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(256 * 2**20 - 1))
    read(CELEB, roots[CELEB], cache, "val")
    assert cache.complaint().startswith(f"could not write to {cache.folder}: its disk has less than 0.25 GiB left")
    assert len(entries(cache)) == COUNTS["train"]


def test_what_was_written_is_read_where_nothing_can_be_written(roots, cache, monkeypatch):
    expected = read(CELEB, roots[CELEB], cache)
    monkeypatch.setattr(datasets.cache, "put", full_disk)
    read("helen", roots["helen"], cache)
    assert "No space left" in cache.complaint()
    monkeypatch.setattr(DATASETS[CELEB], "read", no_reading)
    check_same(read(CELEB, roots[CELEB], cache), expected)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_interrupted_writing_leaves_nothing(roots, cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(CELEB, roots[CELEB], cache)
    assert not list(cache.folder.rglob("*.*"))


# Errors of the data


def spoil_size(root):
    Image.new("RGB", (50, 50)).save(root / "CelebA-HQ-img" / "0.jpg")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAULTS = {
    "image size": (CELEB, spoil_size),
    "image cut": (CELEB, lambda root: cut(root / "CelebA-HQ-img" / "0.jpg")),
    "mask cut": (CELEB, lambda root: cut(root / MASKS / "00000_skin.png")),
    "image missing": (CELEB, lambda root: (root / "CelebA-HQ-img" / "0.jpg").unlink()),
    "mask missing": (CELEB, lambda root: (root / MASKS / "00000_skin.png").unlink()),
    "lapa landmarks": ("lapa", lambda root: cut(root / "train/landmarks/0_0.txt")),
    "lapa landmarks missing": ("lapa", lambda root: (root / "train/landmarks/0_0.txt").unlink()),
    "helen label": ("helen", lambda root: Image.new("L", (SIDE, SIDE), 11).save(root / "train/train0_1_label.png")),
}


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("fault", FAULTS)
def test_errors_are_those_without_a_cache(fault, filled, copy, any_cache):
    name, spoil = FAULTS[fault]
    root = copy(name)
    if filled:
        read(name, root, any_cache, augment=False)
    pair = [create_dataset(name, root, "train", RESOLUTION, False, cache=cache) for cache in (None, any_cache)]
    spoil(root)  # after the datasets looked for their files
    messages = []
    for dataset in pair:
        with pytest.raises(DataError) as caught:
            dataset[0]
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    check_same([pair[1][1]], [pair[0][1]])


# Many at once


def load(dataset, repeat=1, **options):
    """All samples, each read by ``repeat`` workers at about the same time: by two loaders of two workers each."""
    indices = [index for index in range(len(dataset)) for _ in range(repeat)]
    loaders = [DataLoader(dataset, None, sampler=indices[i::2], num_workers=2, **options) for i in range(2)]
    return [sample for turn in zip_longest(*loaders) for sample in turn if sample is not None]


@pytest.mark.parametrize("name", LABELS)
def test_many_workers_may_fill_one_cache(name, roots, cache):
    plain = create_dataset(name, roots[name], "train", RESOLUTION, augment=False)
    expected = [sample for sample in plain for _ in range(8)]
    for _ in range(4):
        shutil.rmtree(cache.folder, ignore_errors=True)
        dataset = create_dataset(name, roots[name], "train", RESOLUTION, augment=False, cache=cache)
        check_same(load(dataset, repeat=8), expected)
        kinds = 2 if name == CELEB else 1
        assert len([path for path in cache.folder.rglob("*") if path.is_file()]) == kinds * COUNTS["train"]
        assert cache.complaint() is None


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_tell_the_main_process_and_each_other_and_nobody_else(context, roots, cache, capfd):
    cache.folder.write_text("mine")
    dataset = create_dataset(CELEB, roots[CELEB], "train", RESOLUTION, cache=cache)
    assert cache.complaint() is None
    check_same(load(dataset, multiprocessing_context=context), read(CELEB, roots[CELEB]))
    assert re.fullmatch(f"could not write to .*: Not a directory{GONE}", cache.complaint())
    assert cache.complaint() is None
    cache.folder.unlink()
    load(dataset, multiprocessing_context=context)  # new workers, and the reason is gone
    assert not cache.folder.exists()
    assert capfd.readouterr() == ("", "")
