"""What may go wrong while training: a full disk, a bad file, a loss that is not finite, a process that dies."""

import os
import resource
import signal
import time

import pytest
import torch
from commands import SHORT, TINY, Commands, assert_same_run, steps_done, wait_until
from drawn import write_dataset

FLAGS = ("train.py", "--dataset", "lapa", *TINY, "--train_bs", "2", "--samples", "0", "--log_interval", "1")
SECONDS_TO_END = 30


def limit_files(pid: int, size: int) -> None:
    """Let no file of a process grow beyond ``size`` bytes: what a full disk does, at a place of our choice."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_full_disk_leaves_the_old_checkpoint_whole_and_is_tried_again(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = (*FLAGS, "--epochs", "3", "--checkpoint_minutes", "0.01", "--save_interval", "1")
    commands.succeed(*flags, "--expt_name", "whole")
    process = commands.start(*flags, "--expt_name", "run")
    folder = commands.folder("run")
    wait_until(lambda: (folder / "last.pt").exists(), process)
    limit_files(process.pid, 1_000_000)  # no checkpoint is as small, train.log is
    wait_until(lambda: f"could not write {folder / 'last.pt'}: File too large" in commands.log("run"), process)
    before = (folder / "last.pt").read_bytes()
    wait_until(lambda: f"could not write {folder / 'model_0.pt'}" in commands.log("run"), process)
    wait_until(lambda: steps_done(commands.log("run"), 20) > 25, process)  # training goes on
    assert (folder / "last.pt").read_bytes() == before
    limit_files(process.pid, resource.RLIM_INFINITY)
    stdout, stderr = process.finish(timeout=300)
    assert process.returncode == 0, stdout + stderr
    assert_same_run(commands.last("run"), commands.last("whole"))
    for name in ("model_0.pt", "model_1.pt", "model_2.pt", "best.pt"):
        weights, expected = (commands.weights(run, name) for run in ("run", "whole"))
        assert all(torch.equal(weights[key], expected[key]) for key in expected), name
    assert len(commands.metrics("run")) == 3
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_run_that_could_not_save_its_end_says_so_and_can_be_gone_on_with(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    commands.succeed(*FLAGS, "--epochs", "1", "--expt_name", "run")
    process = commands.start(*FLAGS, "--epochs", "2", "--expt_name", "run", "--resume")
    limit_files(process.pid, 1_000_000)
    _, stderr = process.finish(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "last.pt, model_1.pt could not be written" in stderr
    assert "Make room on the disk" in stderr
    assert commands.last("run")["epoch"] == 0
    commands.succeed(*FLAGS, "--epochs", "2", "--expt_name", "run", "--resume")
    commands.succeed(*FLAGS, "--epochs", "2", "--expt_name", "whole")
    assert_same_run(commands.last("run"), commands.last("whole"))


@pytest.mark.slow
def test_picture_that_breaks_while_training_ends_all_ranks_with_its_name_and_nothing_lost(tmp_path):
    root = write_dataset("lapa", tmp_path / "data", {"train": 24, "val": 1, "test": 1})
    commands = Commands(root.parent, tmp_path)
    flags = (*FLAGS, "--epochs", "6", "--num_workers", "1")
    commands.succeed(*flags, "--expt_name", "whole", ranks=2)
    process = commands.start(*flags, "--expt_name", "run", ranks=2)
    wait_until(lambda: steps_done(commands.log("run"), 6) >= 8, process)
    picture = root / "train" / "images" / "7_0.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:500])
    broken = time.monotonic()
    _, stderr = process.finish(timeout=300)
    assert time.monotonic() - broken < SECONDS_TO_END
    assert process.returncode != 0
    assert f"{picture}: found a picture that cannot be read" in stderr
    assert "Copy or unpack this file again." in stderr
    last = commands.last("run")
    assert last["iteration"] == steps_done(commands.log("run"), 6) >= 8  # to the step before the picture
    picture.write_bytes(whole)
    step = f"resuming at epoch {last['epoch'] + 1}, step {last['step']}"
    assert step in commands.succeed(*flags, "--expt_name", "run", "--resume", ranks=2)
    assert_same_run(commands.last("run"), commands.last("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", ["0", "1"])
def test_broken_picture_in_training_or_validation_is_named(num_workers, tmp_path):
    for split in ("train", "val"):
        root = write_dataset("lapa", tmp_path / split, {"train": 2, "val": 1, "test": 1})
        picture = next((root / split / "images").iterdir())
        picture.write_bytes(picture.read_bytes()[:500])
        commands = Commands(root.parent, tmp_path)
        error = commands.fail("train.py", "--dataset", "lapa", *SHORT, "--num_workers", num_workers)
        assert str(picture) in error
        assert "Copy or unpack this file again." in error


@pytest.mark.slow
def test_loss_that_stays_not_finite_stops_the_run_with_what_was_before(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    commands.succeed(*FLAGS, "--epochs", "1", "--expt_name", "run")
    last = commands.folder("run") / "last.pt"
    content = commands.last("run")
    content["optimizer"]["param_groups"][0]["lr"] = 1e30
    torch.save(content, last)
    before = last.read_bytes()
    error = commands.fail(*FLAGS, "--epochs", "3", "--expt_name", "run", "--resume", "--max_bad_steps", "5")
    assert "the loss is nan, in the last of 5 such steps in a row" in error
    assert "or lower --lr" in error
    log = commands.log("run")
    assert log.count("the loss is nan; the step is not applied. Samples: train.") == 5
    assert len(commands.metrics("run")) == 1
    assert last.read_bytes() == before


@pytest.mark.slow
def test_rank_that_dies_ends_the_others(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    process = commands.start(*FLAGS, "--epochs", "50", "--expt_name", "run", ranks=2)
    wait_until(lambda: steps_done(commands.log("run"), 10) >= 3, process)
    ranks = commands.children(process)
    died = time.monotonic()
    os.kill(ranks[1], signal.SIGKILL)
    process.finish(timeout=300)
    assert time.monotonic() - died < SECONDS_TO_END
    assert process.returncode != 0
    for pid in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
