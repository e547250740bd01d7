"""Watching a run from afar with Weights & Biases: its losses, scores and pictures, epoch by epoch.

wandb is imported only when a run asks for it, so that a machine can do without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import SettingsError

if TYPE_CHECKING:
    from wandb import Run

MODES = ("disabled", "offline", "online")
CONNECT_SECONDS = 50  # wandb waits for some ten more of its own
UPLOAD_SECONDS = 60  # at the end; what is left then stays on disk for `wandb sync`
OF_AN_ENTRY = {
    "loss": "train/loss",
    "ce": "train/ce",
    "dice": "train/dice",
    "lr": "lr",
    "samples_per_second": "samples_per_second",
    "data_wait": "data_wait",
    "peak_memory_gb": "peak_memory_gb",
}
# What is drawn over what. wandb's own count of steps only rises and would drop what a resumed run logs again. Both
# depths of val/ are named, as a star may end at the next slash.
OVER_ITERATIONS = ("step/*",)
OVER_EPOCHS = (
    "train/*", "val/*", "val/f1/*", "val_ema/*", "val_ema/f1/*", "lr", "samples_per_second", "data_wait",
    "peak_memory_gb", "gallery",
)  # fmt: skip


class Tracker:
    """Where a run is watched; this one is nowhere, and its methods do nothing."""

    def log(self, values: dict[str, float], iteration: int) -> None:
        """Show values of one step over iterations; their names get the prefix ``step/``."""

    def log_epoch(self, entry: dict[str, Any]) -> None:
        """Show a line of ``metrics.jsonl`` over epochs."""

    def log_picture(self, path: Path, epoch: int) -> None:
        """Show a PNG file, under its name without the ending."""

    def finish(self) -> None:
        """Send what is left and end the run."""


class WandbTracker(Tracker):
    """A run at Weights & Biases. Nothing that fails there ends the training; the first failure is logged."""

    def __init__(self, run: Run, logger: Logger) -> None:
        self.run = run
        self.logger = logger
        self.has_warned = False

    def log(self, values: dict[str, float], iteration: int) -> None:
        with self.guarded():
            self.run.log({**{f"step/{name}": value for name, value in values.items()}, "iteration": iteration})

    def log_epoch(self, entry: dict[str, Any]) -> None:
        with self.guarded():
            self.run.log({**flatten(entry), "epoch": entry["epoch"], "iteration": entry["iteration"]})

    def log_picture(self, path: Path, epoch: int) -> None:
        from wandb import Image

        with self.guarded():
            self.run.log({path.stem: Image(str(path)), "epoch": epoch})

    def finish(self) -> None:
        with self.guarded():
            self.run.finish()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Log the first failure of the block and go on."""
        try:
            yield
        except Exception as error:  # of whatever kind: hours of training are worth more than a point in a curve
            if not self.has_warned:
                what = f"{type(error).__name__}: {error}"
                self.logger.warning(f"Weights & Biases failed ({what}); training goes on, and metrics.jsonl has it all")
            self.has_warned = True


def flatten(entry: dict[str, Any]) -> dict[str, float]:
    """The values of a line of ``metrics.jsonl`` that are there, by the names that they have at Weights & Biases."""
    values = {name: entry.get(key) for key, name in OF_AN_ENTRY.items()}
    for split in ("val", "val_ema"):
        scores = entry.get(split) or {}
        values |= {f"{split}/{key}": scores.get(key) for key in ("mean_f1", "long_tail_f1")}
        values |= {f"{split}/f1/{name}": f1 for name, f1 in scores.get("f1", {}).items()}
    return {name: value for name, value in values.items() if value is not None}


def create_tracker(mode: str, folder: Path, name: str, config: dict[str, Any], run_id: str, logger: Logger) -> Tracker:
    """Start to watch a run: nowhere (``disabled``), in files for ``wandb sync`` (``offline``), or live (``online``).

    wandb's files go to ``folder``/wandb. A run that is resumed with the same ``run_id`` goes on as the same one. The
    project is WANDB_PROJECT, or ``segface``.

    Raises SettingsError, without asking for anything, where wandb is not installed, where ``online`` finds no login,
    and where the server refuses or does not answer within a minute.
    """
    if mode == "disabled":
        return Tracker()
    try:
        import wandb
    except ImportError as error:
        raise SettingsError(
            f"--wandb {mode} needs the package wandb ({error}): pip install wandb, or leave --wandb out"
        ) from error

    folder.mkdir(parents=True, exist_ok=True)  # else wandb would write to a temporary folder
    settings = wandb.Settings(
        mode=mode,  # stated here, so that WANDB_MODE cannot contradict --wandb
        silent=mode == "offline",
        quiet=True,
        show_info=False,
        console="off",
        save_code=False,
        disable_git=True,
        disable_job_creation=True,
        x_disable_stats=True,  # a process that would sample CPU, disk and GPUs all the time
        init_timeout=CONNECT_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
    )
    try:
        wandb.setup(settings)
        if mode == "online" and not wandb.login(prompt=False, verify=False):  # wandb.init shows whether it is good
            raise SettingsError(
                "--wandb online: no login at Weights & Biases was found. Run `wandb login` once, or set WANDB_API_KEY, "
                "or use --wandb offline"
            )
        project = os.environ.get("WANDB_PROJECT") or "segface"
        run = wandb.init(project=project, dir=folder, id=run_id, name=name, config=config, resume="allow")
    except (wandb.Error, OSError) as error:
        raise SettingsError(
            f"--wandb {mode}: Weights & Biases could not be started: {error}. Check the network and the login "
            "(`wandb login --relogin`), or use --wandb offline and send the run later with `wandb sync`"
        ) from error
    for step, names in (("iteration", OVER_ITERATIONS), ("epoch", OVER_EPOCHS)):
        for metric in names:
            run.define_metric(metric, step_metric=step)
    place = run.url if mode == "online" else f"offline; to send it: wandb sync {run.settings.sync_dir}"
    logger.info(f"Weights & Biases: {place}")
    return WandbTracker(run, logger)
