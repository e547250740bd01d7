import shutil

import pytest
from drawn import COUNTS, SIDE, write_dataset
from people import drawing

import datasets.cache
from datasets import LABELS, SampleCache, synthetic


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """One dataset of drawn people in each layout."""
    root = tmp_path_factory.mktemp("drawn")
    for layout in LABELS:
        synthetic.write_dataset(drawing(layout), root / layout)
    return root


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    """The folders of three tiny datasets, not to be changed."""
    data_path = tmp_path_factory.mktemp("data")
    return {name: write_dataset(name, data_path, COUNTS, SIDE) for name in LABELS}


@pytest.fixture
def copy(roots, tmp_path):
    """Makes a copy of one of them, to change."""
    return lambda name: shutil.copytree(roots[name], tmp_path / "data" / name)


@pytest.fixture(autouse=True)
def _any_disk_will_do(monkeypatch):
    monkeypatch.setattr(datasets.cache, "RESERVE", dict.fromkeys(datasets.cache.RESERVE, 0))


@pytest.fixture
def cache(tmp_path):
    return SampleCache(tmp_path / "cache", images=True)


@pytest.fixture(params=[False, True], ids=["labels", "images"])
def any_cache(request, tmp_path):
    return SampleCache(tmp_path / "cache", images=request.param)
