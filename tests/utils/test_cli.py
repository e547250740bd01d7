"""How commands end, and what a stream that cannot be written does to them."""

import errno
import io
import logging
import os
import signal
import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from datasets import DataError
from utils import cli
from utils.distributed import distributed_world
from utils.errors import RankError, SettingsError
from utils.logging import TqdmHandler, progress_bar


def raising(error):
    def main():
        raise error

    return main


@pytest.fixture
def ended(capsys, monkeypatch):
    """The exit code of a command, and what it said."""

    def run(main, rank=None):
        monkeypatch.delenv("RANK", raising=False)
        if rank is not None:
            monkeypatch.setenv("RANK", str(rank))
        with pytest.raises(SystemExit) as exit_:
            cli.run(main)
        return exit_.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("rank", [None, 0])
@pytest.mark.parametrize("error", [SettingsError, DataError, RankError, FileNotFoundError])
def test_what_a_user_can_mend_is_one_line(error, rank, ended):
    assert ended(raising(error("it is so")), rank) == (1, "\nerror: it is so\n")


def test_other_ranks_say_what_the_main_one_does_not_know(ended):
    assert ended(raising(SettingsError("the same on all")), rank=1) == (1, "")
    assert ended(raising(RankError("mine alone")), rank=1) == (1, "\nerror on rank 1: mine alone\n")
    assert ended(raising(DataError("my picture")), rank=1) == (1, "\nerror on rank 1: my picture\n")
    code, message = ended(raising(RuntimeError("[gloo] Connection closed by peer\nat line 1")), rank=1)
    assert (code, message) == (1, "\nrank 1 ends, as another rank was lost: [gloo] Connection closed by peer\n")


def test_ctrl_c_is_one_word(ended):
    assert ended(raising(KeyboardInterrupt())) == (130, "\nstopped\n")


def test_a_full_disk_is_told_with_the_file(ended):
    code, message = ended(raising(OSError(errno.ENOSPC, "No space left on device", "here.json")))
    assert (code, message) == (1, "\nerror: here.json could not be written: No space left on device. Make room there\n")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("a bug"), KeyError("a bug")])
def test_what_nobody_expects_keeps_its_traceback(error, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(type(error)) as raised:
        cli.run(raising(error))
    assert raised.value is error


class Deadly(Dataset):
    """Its reading ends the process that reads, as the system does where memory is short."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_with_the_remedy(ended):
    code, message = ended(lambda: list(DataLoader(Deadly(), num_workers=1)))
    assert code == 1
    assert message.startswith("\nerror: a process that reads data was killed (DataLoader worker (pid")
    assert "lower --num_workers" in message


@pytest.mark.parametrize(("gpus", "rank"), [(0, 0), (2, 2)])
def test_a_rank_without_a_gpu_is_told(gpus, rank, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("RANK", str(rank))
    with (
        pytest.raises(RankError, match=rf"rank {rank} wants the GPU cuda:{rank}, and this machine has {gpus}; start"),
        distributed_world("cuda"),
    ):
        pass


class Full(io.StringIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        self.write("")


def test_output_to_a_full_disk_is_lost_and_no_more(monkeypatch):
    monkeypatch.setattr("sys.stdout", Full())
    monkeypatch.setattr("sys.stderr", Full())
    with progress_bar("training", 4, is_main=True) as bar:
        bar.update(4)
        TqdmHandler().emit(logging.makeLogRecord({"msg": "a line of the log"}))
    assert bar.n == 4


def test_output_to_a_sound_stream_is_written(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with progress_bar("training", 4, is_main=True) as bar:
        bar.update(4)
        TqdmHandler().emit(logging.makeLogRecord({"msg": "a line of the log"}))
    assert "4/4" in sys.stderr.getvalue()
    assert sys.stdout.getvalue() == "a line of the log\n"
