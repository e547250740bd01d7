import os
import signal

import pytest
import torch
from commands import Commands
from drawn import write_dataset

from datasets import LABELS

# Golden samples of photographs that are not ours to publish lie outside the repository.
collect_ignore = [] if os.environ.get("SEGFACE_SHARED") else ["test_photographs.py"]


@pytest.fixture(autouse=True, scope="session")
def _flush_denormals():
    torch.set_flush_denormal(True)


@pytest.fixture(autouse=True, scope="session")
def _heed_ctrl_c():
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start from there.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory):
    """DATA_PATH with the three drawn datasets; an odd number of images in every split."""
    data_path = tmp_path_factory.mktemp("data")
    for name in LABELS:
        write_dataset(name, data_path, {"train": 5, "val": 3, "test": 7})
    return data_path


@pytest.fixture(scope="session")
def many_data(tmp_path_factory):
    """DATA_PATH with LaPa and Helen, and enough images for a run to be interrupted in the midst of an epoch."""
    data_path = tmp_path_factory.mktemp("many")
    for name in ("lapa", "helen"):
        write_dataset(name, data_path, {"train": 40, "val": 3, "test": 3})
    return data_path


@pytest.fixture
def commands(drawn_data, tmp_path):
    return Commands(drawn_data, tmp_path / "logs")
