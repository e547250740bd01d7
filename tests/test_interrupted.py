"""Runs that are killed or asked to stop, at any moment, and go on as if nothing had been."""

import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from commands import MEASURED, TINY, Commands, assert_same_run, starts, steps_done, wait_until
from drawn import write_dataset

from utils.stopping import StopRequest

KILLS = {1: 10, 2: 5}  # by the number of ranks
# Drop path, augmentation, a data worker and mixed precision all at once.
HARD = (*TINY, "--dataset", "lapa", "--model", "swinv2_tiny", "--num_workers", "1", "--amp", "bf16", "--train_bs", "2")
# BatchNorm, whose statistics differ between ranks, averaged weights, and steps of two batches.
OTHER = (*TINY, "--dataset", "helen", "--num_workers", "1", "--train_bs", "1", "--ema", "0.9", "--grad_accum", "2")
WATCHED = ("--log_interval", "1", "--samples", "0", "--checkpoint_minutes", "0.01")


def moments(steps: int, kills: int) -> list[int]:
    """Steps at which to kill, drawn anew each time."""
    return sorted(random.sample(range(1, steps - 6), kills))


def lines(commands: Commands, name: str) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in commands.metrics(name)]


@pytest.mark.slow
def test_run_that_is_killed_ten_times_ends_as_if_nothing_had_been(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = ("train.py", *HARD, "--epochs", "2", *WATCHED)
    commands.succeed(*flags, "--expt_name", "whole")
    points, saved = moments(40, KILLS[1]), 0
    for number, point in enumerate(points):
        process = commands.start(*flags, "--expt_name", "killed", "--resume")
        wait_until(lambda: starts(commands.log("killed")) > number, process)  # noqa: B023
        wait_until(lambda: steps_done(commands.log("killed"), 20) >= point, process)  # noqa: B023
        time.sleep(random.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        process.finish()
        saved += (commands.folder("killed") / "last.pt").exists()
    commands.succeed(*flags, "--expt_name", "killed", "--resume")
    assert_same_run(commands.last("killed"), commands.last("whole"))
    assert lines(commands, "killed") == lines(commands, "whole"), points
    log = commands.log("killed")
    assert log.count("resuming at epoch") == saved, points  # those before the first last.pt have nothing to resume
    assert not list(commands.folder("killed").glob(".*")), points  # nothing half written is left
    assert any("step 0" not in line for line in log.splitlines() if "resuming at" in line), points  # inside epochs


@pytest.mark.slow
def test_ranks_that_are_killed_are_started_again_by_torchrun(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = ("train.py", *OTHER, "--epochs", "3", *WATCHED)
    commands.succeed(*flags, "--expt_name", "whole", ranks=2)
    points = moments(30, KILLS[2])
    process = commands.start(*flags, "--expt_name", "killed", ranks=2, restarts=KILLS[2])
    for number, point in enumerate(points):
        wait_until(lambda: starts(commands.log("killed")) > number, process)  # noqa: B023
        wait_until(lambda: steps_done(commands.log("killed"), 10) >= point, process)  # noqa: B023
        time.sleep(random.uniform(0, 0.2))
        os.kill(random.choice(commands.children(process)), signal.SIGKILL)
    output = process.finish(timeout=600)
    assert process.returncode == 0, output
    assert_same_run(commands.last("killed"), commands.last("whole"))
    assert lines(commands, "killed") == lines(commands, "whole"), points
    assert starts(commands.log("killed")) == KILLS[2] + 1


@pytest.mark.slow
def test_rank_that_is_killed_on_another_node_is_started_again_and_the_run_goes_on(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = (*TINY, "--dataset", "lapa", "--train_bs", "2", "--epochs", "3", *WATCHED)
    commands.succeed("train.py", *flags, "--expt_name", "whole", ranks=2)
    commands.folder("run").mkdir(parents=True)
    (commands.folder("run") / "last.pt").write_bytes(b"an older run's, to be moved aside")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = ("--nnodes", "2", "--nproc_per_node", "1", "--max_restarts", "3", "--rdzv_backend", "c10d")
    nodes = (*nodes, "--rdzv_endpoint", endpoint, "--rdzv_id", "100")
    agents = [commands.start_under(nodes, "train.py", *flags, "--expt_name", "run") for _ in range(2)]
    wait_until(lambda: commands.folder("run.1").exists(), agents[0])
    wait_until(lambda: steps_done(commands.log("run"), 10) >= 5, agents[0])
    ranks = [commands.children(agent)[0] for agent in agents]
    os.kill(next(pid for pid in ranks if "RANK=1" in environment_of(pid)), signal.SIGKILL)
    outputs = [agent.finish() for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert starts(commands.log("run")) == 2
    assert "resuming at epoch" in commands.log("run")
    assert not commands.folder("run.2").exists()
    assert_same_run(commands.last("run"), commands.last("whole"))


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signal_to_all_its_processes_stops_a_run_after_its_step_with_all_saved(name, many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = ("train.py", *TINY, "--dataset", "lapa", "--num_workers", "1", "--train_bs", "2", "--epochs", "1")
    flags = (*flags, "--log_interval", "1", "--samples", "0", "--expt_name", "run")
    process = commands.start(*flags)
    wait_until(lambda: steps_done(commands.log("run"), 20) >= 3, process)
    os.killpg(process.pid, signal.Signals[name])
    stdout, stderr = process.finish(timeout=60)
    assert process.returncode == 0, stderr
    assert f"{name}: finishing this step; Ctrl-C stops at once" in stderr
    assert f"stopped by {name} at epoch 0, step" in stdout
    assert "Traceback" not in stderr
    last = commands.last("run")
    assert 3 <= last["iteration"] == last["step"] < 20
    assert last["iteration"] == steps_done(commands.log("run"), 20)
    assert "resuming at epoch 0, step " in commands.succeed(*flags, "--resume")
    assert commands.last("run")["iteration"] == 20


@pytest.mark.slow
def test_signal_to_torchrun_or_to_one_rank_stops_all_ranks(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = ("train.py", *TINY, "--dataset", "lapa", "--num_workers", "1", "--train_bs", "2", "--epochs", "50")
    flags = (*flags, "--log_interval", "1", "--samples", "0", "--resume", "--expt_name", "run")
    stopped = []
    for number, to_torchrun in enumerate((True, False), start=1):
        process = commands.start(*flags, ranks=2, restarts=3)
        wait_until(lambda: starts(commands.log("run")) == number, process)  # noqa: B023
        wait_until(lambda: steps_done(commands.log("run"), 10) >= 5 * number, process)  # noqa: B023
        os.kill(process.pid if to_torchrun else commands.children(process)[-1], signal.SIGTERM)
        stdout, stderr = process.finish(timeout=60)
        assert "stopped by" in stdout, stderr
        stopped.append(commands.last("run")["iteration"])
        assert stopped[-1] == steps_done(commands.log("run"), 10)
    assert process.returncode == 0  # torchrun itself calls it an error only if the signal was for it
    assert stopped[0] < stopped[1]
    assert starts(commands.log("run")) == 2  # torchrun did not start it again


@pytest.mark.slow
def test_signal_while_validating_keeps_the_epoch(tmp_path):
    root = write_dataset("lapa", tmp_path / "data", {"train": 2, "val": 80, "test": 1})
    commands = Commands(root.parent, tmp_path)
    flags = ("train.py", *TINY, "--dataset", "lapa", "--train_bs", "2", "--val_bs", "1", "--samples", "0")
    flags = (*flags, "--input_resolution", "96", "--log_interval", "1", "--expt_name", "run", "--epochs", "1")
    process = commands.start(*flags)
    wait_until(lambda: steps_done(commands.log("run"), 1) == 1, process)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.finish(timeout=60)
    assert "stopped by SIGTERM at epoch 0, step 1" in stdout, stderr
    assert not commands.folder("run").joinpath("metrics.jsonl").exists()
    commands.succeed(*flags, "--resume")
    commands.succeed(*flags, "--expt_name", "whole")
    assert_same_run(commands.last("run"), commands.last("whole"))
    assert lines(commands, "run") == lines(commands, "whole")


def test_second_ctrl_c_stops_at_once_and_other_signals_do_not():
    with StopRequest(announce=False) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with StopRequest(announce=False) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)  # what torchrun makes of a second Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)  # nothing is caught any more


@pytest.mark.slow
def test_second_ctrl_c_ends_a_step_that_takes_long(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = ("train.py", *TINY, "--dataset", "lapa", "--train_bs", "1", "--grad_accum", "40", "--epochs", "1")
    process = commands.start(*flags, "--expt_name", "run")
    wait_until(lambda: "  run /" in commands.log("run"), process)
    time.sleep(1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, stderr = process.finish(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not commands.folder("run").joinpath("last.pt").exists()
