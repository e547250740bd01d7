"""Checkpoints of a training run: everything to go on, the best weights, and weights by epoch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from network import SegFace
from network.checkpoint import STATE_KEY, check_fit, config_of, extract_state
from network.errors import WeightsError
from network.files import read_file, replacing
from utils.config import SettingsError

LAST, BEST = "last.pt", "best.pt"
# Settings that a resumed run cannot change, and those that it takes over from the states of optimizer and scheduler.
FIXED = ("dataset", "backbone", "model", "input_resolution")
TAKEN_OVER = ("lr", "lr_schedule", "lr_schedule_gamma", "weight_decay")


@dataclass
class Progress:
    """How far a run has come: epochs done, optimizer steps done, and the best validation mean F1 so far."""

    epoch: int = 0
    iteration: int = 0
    best_f1: float = -1.0


class Checkpoints:
    """The checkpoint files in the folder of a run. Every file is written beside its place and renamed."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.changes: list[str] = []  # settings that differ from those of the run that was resumed

    def weights(self, model: SegFace, progress: Progress) -> dict[str, Any]:
        """What ``load_weights`` reads, with where it comes from. ``epoch`` counts from 0, as in the file's name."""
        return {
            STATE_KEY: model.state_dict(),
            "epoch": progress.epoch - 1,
            "iteration": progress.iteration,
            "config": {**self.config, **model.config},
        }

    def save_last(
        self,
        model: SegFace,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        progress: Progress,
    ) -> None:
        """Write ``last.pt``: all that resuming needs."""
        content = self.weights(model, progress) | {
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "best_f1": progress.best_f1,
        }
        self.write(content, LAST)

    def save_weights(self, model: SegFace, progress: Progress, name: str) -> None:
        """Write the weights alone, as ``best.pt`` or ``model_{epoch}.pt``."""
        self.write(self.weights(model, progress), name)

    def write(self, content: dict[str, Any], name: str) -> None:
        with replacing(self.folder / name) as file:
            torch.save(content, file)

    def resume(
        self,
        model: SegFace,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
    ) -> Progress | None:
        """Load ``last.pt`` and say how far it had come, or None where there is none.

        Raises WeightsError for a file that cannot be gone on from, and SettingsError if it is of another dataset or
        model. The learning rate and its schedule go on as they were, and ``config`` says so.
        """
        path = self.folder / LAST
        if not path.is_file():
            return None
        content = read_file(path)
        saved = config_of(content)
        for key in FIXED:
            if saved.get(key, self.config[key]) != self.config[key]:
                raise SettingsError(
                    f"{path} is of a run with --{key} {saved[key]}, not {self.config[key]}; pass the same settings to "
                    "--resume, or another --expt_name to start afresh"
                )
        state = extract_state(content, str(path))
        check_fit(model, state, model.state_dict(), str(path))
        missing = {"optimizer", "scheduler", "epoch", "iteration", "best_f1"} - set(content)
        if missing:
            raise WeightsError(f"{path} has no {', '.join(sorted(missing))}; it holds weights, not a run to go on with")
        try:
            model.load_state_dict(state)
            optimizer.load_state_dict(content["optimizer"])
            scheduler.load_state_dict(content["scheduler"])
            progress = Progress(int(content["epoch"]) + 1, int(content["iteration"]), float(content["best_f1"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} cannot be gone on from: {error}. Use model_*.pt or best.pt instead") from error
        self.changes = [
            f"--{key} {self.config[key]} (was {value})" + (": stays as it was" if key in TAKEN_OVER else "")
            for key, value in saved.items()
            if key not in ("resume", "device") and self.config.get(key, value) != value
        ]
        self.config |= {key: saved[key] for key in TAKEN_OVER if key in saved}
        return progress

    def set_aside(self) -> Path | None:
        """Rename the folder of an earlier run that has checkpoints, so that a new one cannot overwrite them."""
        if not any(self.folder.glob("*.pt")):
            return None
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.{number}")).exists():
            number += 1
        return self.folder.rename(aside)
