"""Running train.py and test.py as their users do: in a process of their own, on drawn data."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from network.files import read_file

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = ("--model", "mobilenet", "--input_resolution", "64", "--pretrained", "none", "--num_workers", "0")
SHORT = (*TINY, "--train_bs", "2", "--epochs", "2", "--save_interval", "1")
# What is measured, and differs from run to run.
MEASURED = ("seconds", "samples_per_second", "data_wait", "peak_memory_gb")
PATIENCE = 300  # seconds


class Running(subprocess.Popen):
    """A process whose output goes to files: a pipe that nobody reads would stop it when it is full."""

    def __init__(self, command: list[str], **options) -> None:
        self.files = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115, until it is gone
        super().__init__(command, stdout=self.files[0], stderr=self.files[1], text=True, **options)

    def finish(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end, and return what it printed; it is killed if it takes too long."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            raise
        for file in self.files:
            file.seek(0)
        return self.files[0].read(), self.files[1].read()


class Commands:
    """The entry points, with DATA_PATH and LOG_PATH of a test."""

    def __init__(self, data_path: Path, log_path: Path) -> None:
        self.data_path = data_path
        self.log_path = log_path

    def start(self, script: str, *flags: str, ranks: int = 0, restarts: int = 0, **environment: str) -> Running:
        """Start a script in a process group of its own, under torchrun if ``ranks`` says so; one thread each, so that
        numbers can be compared."""
        torchrun = ("--standalone", "--nproc_per_node", str(ranks), "--max_restarts", str(restarts)) if ranks else ()
        return self.start_under(torchrun, script, *flags, **environment)

    def start_under(self, torchrun: tuple[str, ...], script: str, *flags: str, **environment: str) -> Running:
        """The same with flags for torchrun; without any, it is left out."""
        launcher = [sys.executable, *(["-m", "torch.distributed.run", *torchrun] if torchrun else [])]
        variables = {
            **os.environ,
            "DATA_PATH": str(self.data_path),
            "LOG_PATH": str(self.log_path),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        }
        command = [*launcher, str(REPOSITORY / script), *map(str, flags)]
        return Running(command, env=variables, start_new_session=True)

    def run(self, script: str, *flags: str, **options) -> subprocess.CompletedProcess:
        """Run a script to its end."""
        process = self.start(script, *flags, **options)
        output = process.finish(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, *output)

    def succeed(self, script: str, *flags: str, **options) -> str:
        """Run a script that must succeed, and return what it printed."""
        result = self.run(script, *flags, **options)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fail(self, script: str, *flags: str, **options) -> str:
        """Run a script that must end with an error and no traceback, and return the error."""
        result = self.run(script, *flags, **options)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr, result.stderr
        return result.stderr

    def folder(self, expt_name: str) -> Path:
        return self.log_path / "ckpts" / expt_name

    def log(self, expt_name: str) -> str:
        path = self.folder(expt_name) / "train.log"
        return path.read_text() if path.is_file() else ""

    def last(self, expt_name: str) -> dict:
        return dict(read_file(self.folder(expt_name) / "last.pt"))

    def weights(self, expt_name: str, name: str) -> dict:
        return read_file(self.folder(expt_name) / name)["state_dict_backbone"]

    @staticmethod
    def children(process: subprocess.Popen) -> list[int]:
        """The processes that torchrun has started, one for each rank."""
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def metrics(self, expt_name: str) -> list[dict]:
        lines = (self.folder(expt_name) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def results(self, expt_name: str, split: str = "test") -> dict:
        name = "results.json" if split == "test" else f"results_{split}.json"
        return json.loads((self.folder(expt_name) / name).read_text())


def wait_until(happened: Callable[[], bool], process: Running) -> None:
    """Wait for something that a running process does."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, [text[-2000:] for text in process.finish()]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def starts(log: str) -> int:
    """How often the run of a train.log was started."""
    return log.count("  run /")


def steps_done(log: str, steps_per_epoch: int) -> int:
    """How far train.log, written with --log_interval 1, has come."""
    found = re.findall(r"epoch (\d+)/\d+ step (\d+)/", log)
    return int(found[-1][0]) * steps_per_epoch + int(found[-1][1]) if found else 0


def assert_same_weights(a: dict, b: dict) -> None:
    """Two state dicts are equal to the last bit."""
    assert set(a) == set(b)
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def assert_same_run(a: dict, b: dict) -> None:
    """Two contents of last.pt are of the same point of the same training, to the last bit."""
    assert_same_weights(a["state_dict_backbone"], b["state_dict_backbone"])
    assert (a["epoch"], a["iteration"], a["best_f1"]) == (b["epoch"], b["iteration"], b["best_f1"])
    states = [content["optimizer"]["state"] for content in (a, b)]
    assert states[0].keys() == states[1].keys()
    for number, moments in states[0].items():
        assert_same_weights(moments, states[1][number])
    assert (a["ema"] is None) is (b["ema"] is None)
    if a["ema"]:
        assert_same_weights(a["ema"], b["ema"])
