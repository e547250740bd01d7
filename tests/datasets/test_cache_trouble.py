"""The cache of samples mends itself, and never stands in the way."""

import errno
import os
import re
import resource
import shutil
from collections import namedtuple
from itertools import zip_longest
from pathlib import Path

import pytest
from cached import CELEB, MASKS, RESOLUTION, check_same, entries, no_reading, read
from drawn import COUNTS, SIDE
from PIL import Image
from spoilt import cut
from torch.utils.data import DataLoader

import datasets.cache
from datasets import DATASETS, LABELS, DataError, SampleCache, create_dataset

RESERVE = datasets.cache.RESERVE
GONE = "; going on without caching what is not there yet"


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
