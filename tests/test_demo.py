"""scripts/demo.sh, on a few small faces."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from datasets import LABELS

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = ("--input_resolution", "64", "--train_bs", "4")


@pytest.fixture
def start(tmp_path):
    """Starts the demo in a process group of its own, in tmp_path/demo, without setting anything up."""

    def popen(*flags: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "DEMO": str(tmp_path / "demo"),
            "TRAIN": "8",
            "VAL": "3",
            "TEST": "5",
            "CONDA_DEFAULT_ENV": "segface",  # this Python, and not a .venv that would have to be made
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CUDA_VISIBLE_DEVICES": "",
        }
        command = ["bash", "scripts/demo.sh", *TINY, *flags]
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return popen


def finish(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("dataset", LABELS)
def test_demo_draws_trains_tests_and_makes_pictures(start, tmp_path, dataset):
    output = finish(start("--epochs", "1", "--dataset", dataset))
    folder = tmp_path / "demo" / "logs" / "ckpts" / f"demo_{dataset}_mobilenet_64"
    assert all(f"\n{name} " in output for name in LABELS[dataset].names)  # the table
    table, gallery = output.rindex("mean F1, without background"), folder / "samples" / "gallery.png"
    for picture in (gallery, folder / "curves.png"):
        assert str(picture) in output[table:]
        assert Image.open(picture).width > 800
    assert "epoch 0/0" in output  # the flag reached train.py


@pytest.mark.slow
def test_demo_goes_on_after_ctrl_c(start, tmp_path):
    process = start("--epochs", "40", "--expt_name", "mine")
    log = tmp_path / "demo" / "logs" / "ckpts" / "mine" / "train.log"
    deadline = time.monotonic() + 300
    while not (log.exists() and "epoch 1/39: loss" in log.read_text()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    stopped, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stopped
    assert "stopped by SIGINT" in stopped
    assert "3/3  Testing" not in stopped

    output = finish(start("--epochs", "4", "--expt_name", "mine"))
    assert "is there already" in output  # the faces
    assert "resuming at epoch" in output
    assert "mean F1, without background" in output
    assert str(log.parent / "curves.png") in output
