"""Reading drawn datasets through a cache: what the tests of the cache share."""

import torch

from datasets import create_dataset

RESOLUTION = 32
CELEB, MASKS = "celebamask_hq", "CelebAMask-HQ-mask-anno/0"


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


def no_reading(*_):
    raise AssertionError("a file was read again")
