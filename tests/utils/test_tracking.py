"""Weights & Biases: what a run sends there, read again from its files, and what happens where that fails."""

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from commands import REPOSITORY
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from utils.errors import SettingsError
from utils.tracking import Tracker, create_tracker

LOGGER = logging.getLogger("test of tracking")
ENTRY = {
    "epoch": 4, "iteration": 50, "lr": 1e-4, "loss": 1.25, "ce": 2.0, "dice": 0.5, "samples_per_second": 5.0,
    "data_wait": 0.02, "peak_memory_gb": 1.5, "seconds": 12.0, "skipped_steps": 0,
    "val": {"mean_f1": 0.5, "long_tail_f1": None, "f1": {"background": 0.9, "hat": None, "hair": 0.75},
            "group_f1": {}, "mean_iou": 0.4, "num_images": 3},
    "val_ema": {"mean_f1": 0.625, "long_tail_f1": 0.25, "f1": {"hair": 0.875}, "group_f1": {}, "mean_iou": 0.5},
}  # fmt: skip
SENT = {
    "epoch": 4, "iteration": 50, "lr": 1e-4, "train/loss": 1.25, "train/ce": 2.0, "train/dice": 0.5,
    "samples_per_second": 5.0, "data_wait": 0.02, "peak_memory_gb": 1.5, "val/mean_f1": 0.5,
    "val/f1/background": 0.9, "val/f1/hair": 0.75, "val_ema/mean_f1": 0.625, "val_ema/long_tail_f1": 0.25,
    "val_ema/f1/hair": 0.875,
}  # fmt: skip


def offline(folder: Path, logger: logging.Logger = LOGGER) -> Tracker:
    return create_tracker("offline", folder, "a run", {"lr": 1e-4, "lr_schedule": (80, 200)}, "id1", logger)


def records(run_folder: Path) -> list[Record]:
    """The records of a run's .wandb file, when wandb's own process has written the last one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        file = next(run_folder.glob("*.wandb"), None)
        found = read(file.read_bytes()) if file else []
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.02)
    raise AssertionError(f"no end of the run in {run_folder}")


def read(content: bytes) -> list[Record]:
    """Whole records in LevelDB's log format after a header of seven bytes.

    Blocks of 32 KiB hold chunks of a checksum, a length, a kind (1 whole, 2 first, 3 middle, 4 last) and content.
    """
    position, whole, found = 7, b"", []
    while position + 7 <= len(content):
        left_in_block = 32768 - position % 32768
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if left_in_block < 7 or kind == 0:
            position += left_in_block
            continue
        chunk = content[position + 7 : position + 7 + length]
        if len(chunk) < length:
            break
        whole += chunk
        position += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(whole))
            whole = b""
    return found


def history(run_folder: Path) -> list[dict]:
    """What was logged, one dict a call; keys of wandb's own, which begin with a line, are left out."""
    lines = []
    for record in records(run_folder):
        if record.WhichOneof("record_type") == "history":
            items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            lines.append({key: value for key, value in items.items() if not key.startswith("_")})
    return lines


def run_folders(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*-id1*"))


def test_an_offline_run_can_be_read_again(tmp_path):
    picture = tmp_path / "gallery.png"
    Image.new("RGB", (8, 4), (10, 20, 30)).save(picture)
    tracker = offline(tmp_path / "run")
    tracker.log({"loss": 2.5, "lr": 1e-4}, iteration=10)
    tracker.log_epoch(ENTRY)
    tracker.log_picture(picture, epoch=4)
    print("what is printed")
    tracker.finish()

    (run_folder,) = run_folders(tmp_path / "run")
    step, epoch, shown = history(run_folder)
    assert step == {"step/loss": 2.5, "step/lr": 1e-4, "iteration": 10}
    assert epoch == SENT
    assert shown["epoch"] == 4
    copy = run_folder / "files" / shown["gallery.path"]
    assert Image.open(copy).getpixel((7, 3)) == (10, 20, 30)

    found = {record.WhichOneof("record_type"): record for record in records(run_folder)}
    run = found["run"].run
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.run_id, run.display_name, run.project) == ("id1", "a run", "segface")
    assert (config["lr"], config["lr_schedule"]) == (1e-4, [80, 200])
    assert b"what is printed" not in b"".join(file.read_bytes() for file in run_folder.glob("**/*.*"))
    assert not list(run_folder.glob("files/**/*.py"))


def test_what_is_drawn_over_iterations_and_what_over_epochs(tmp_path):
    tracker = offline(tmp_path)
    tracker.finish()
    found = [record.metric for record in records(run_folders(tmp_path)[0])]
    steps = {metric.glob_name or metric.name: metric.step_metric for metric in found if metric.step_metric}

    def step_of(name: str) -> str:
        return steps.get(name) or steps[name.rpartition("/")[0] + "/*"]

    assert step_of("step/loss") == "iteration"
    assert {step_of(name) for name in {*SENT, "gallery"} - {"epoch", "iteration"}} == {"epoch"}


def test_a_resumed_run_that_goes_back_some_steps_loses_nothing(tmp_path):
    for first in (1, 2):  # the second time it goes on from a checkpoint before the last step
        tracker = offline(tmp_path)
        for iteration in (first, first + 1, first):
            tracker.log({"loss": first}, iteration)
        tracker.finish()
    logged = [[line["iteration"] for line in history(folder)] for folder in run_folders(tmp_path)]
    assert logged == [[1, 2, 1], [2, 3, 2]]


def test_lines_of_older_runs_and_epochs_without_validation_are_sent_as_far_as_they_go(tmp_path):
    tracker = offline(tmp_path)
    tracker.log_epoch({"epoch": 0, "iteration": 2, "lr": 0.1, "loss": 1.0, "ce": 1.0, "dice": 1.0, "val": None})
    tracker.finish()
    (line,) = history(run_folders(tmp_path)[0])
    assert line == {"epoch": 0, "iteration": 2, "lr": 0.1, "train/loss": 1.0, "train/ce": 1.0, "train/dice": 1.0}


def test_the_log_says_how_to_send_an_offline_run(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        offline(tmp_path).finish()
    assert f"wandb sync {run_folders(tmp_path)[0]}" in caplog.text


def test_a_disabled_tracker_does_nothing_and_needs_no_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an ImportError
    tracker = create_tracker("disabled", tmp_path / "run", "a run", {}, "id1", LOGGER)
    tracker.log({"loss": 1.0}, 1)
    tracker.log_epoch(ENTRY)
    tracker.log_picture(tmp_path / "nowhere.png", 0)
    tracker.finish()
    assert not (tmp_path / "run").exists()


def online(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess, float]:
    """Start an online run in a process with an empty home; what it printed and the seconds it took."""
    code = """
import logging, sys
from pathlib import Path
from utils import tracking
tracking.CONNECT_SECONDS = 1
try:
    tracking.create_tracker("online", Path(sys.argv[1]), "a run", {}, "id1", logging.getLogger())
except tracking.SettingsError as error:
    print(error)
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    variables = {**kept, "HOME": str(folder), "NETRC": str(folder / "netrc"), **environment}
    command = [sys.executable, "-c", code, str(folder / "run")]
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": True}
    started = time.perf_counter()
    result = subprocess.run(command, cwd=REPOSITORY, env=variables, **options)
    return result, time.perf_counter() - started


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, "offline"])
def test_online_without_a_login_is_told_at_once_and_without_the_network(mode, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # the way to everywhere
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        ways = {"WANDB_BASE_URL": url, "HTTP_PROXY": url, "HTTPS_PROXY": url}
        result, seconds = online(tmp_path, **ways, **({"WANDB_MODE": mode} if mode else {}))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody came
            server.accept()
    assert "no login at Weights & Biases" in result.stdout
    for remedy in ("wandb login", "WANDB_API_KEY", "--wandb offline"):
        assert remedy in result.stdout
    assert result.stderr == ""
    assert not (tmp_path / "run" / "wandb").exists()
    assert seconds < 10


@pytest.mark.slow
def test_online_with_a_login_that_cannot_be_used_is_one_message(tmp_path):
    result, _ = online(tmp_path, WANDB_API_KEY="short")
    assert "WANDB_API_KEY invalid" in result.stdout
    result, seconds = online(tmp_path, WANDB_API_KEY=40 * "a", WANDB_BASE_URL="http://127.0.0.1:9")  # refuses
    assert result.stdout.startswith("--wandb online: Weights & Biases could not be started: ")
    for words in ("Check the network", "--wandb offline", "wandb sync"):
        assert words in result.stdout
    assert "Traceback" not in result.stderr
    assert seconds < 30


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_machine_without_wandb_is_told_what_to_do(mode, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an ImportError
    with pytest.raises(SettingsError, match=f"--wandb {mode} needs the package wandb .*pip install wandb"):
        create_tracker(mode, tmp_path, "a run", {}, "id1", LOGGER)


@pytest.mark.parametrize("kind", [ConnectionResetError, wandb.Error, RuntimeError])
def test_a_tracker_that_breaks_warns_once_and_lets_the_training_go_on(kind, tmp_path, monkeypatch, caplog):
    tracker = offline(tmp_path)

    def broken(*_, **__):
        raise kind("Connection lost")

    with caplog.at_level(logging.INFO), monkeypatch.context() as patched:
        patched.setattr(tracker.run, "log", broken)
        patched.setattr(tracker.run, "finish", broken)
        tracker.log({"loss": 1.0}, 1)
        tracker.log_epoch(ENTRY)
        tracker.log_picture(tmp_path / "gallery.png", 0)
        tracker.finish()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "Connection lost" in warnings[0]
    tracker.log({"loss": 3.0}, 2)  # what can be sent again is sent
    tracker.finish()
    assert history(run_folders(tmp_path)[0]) == [{"step/loss": 3.0, "iteration": 2}]


def test_a_picture_that_is_not_there_does_not_end_the_training(tmp_path, caplog):
    tracker = offline(tmp_path)
    with caplog.at_level(logging.WARNING):
        tracker.log_picture(tmp_path / "nowhere.png", 0)
    tracker.finish()
    assert "nowhere.png" in caplog.text


def test_interrupting_is_no_failure_of_the_tracker(tmp_path, monkeypatch):
    tracker = offline(tmp_path)
    monkeypatch.setattr(tracker.run, "log", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tracker.log({"loss": 1.0}, 1)
    tracker.finish()


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    yield
    if wandb.run is not None:
        wandb.finish()
