"""The cache of samples: it changes no sample, and each is made once."""

import os

import numpy as np
import pytest
from cached import CELEB, RESOLUTION, check_same, entries, no_reading, read
from drawn import COUNTS, SIDE
from PIL import Image

from datasets import DATASETS, LABELS, SampleCache, create_dataset


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
