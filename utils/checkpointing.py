"""Checkpoints of a training run: everything to go on, the best weights, and weights by epoch."""

import time
from collections.abc import Mapping
from contextlib import suppress
from logging import Logger
from pathlib import Path
from typing import Any, BinaryIO

import torch

from network import SegFace
from network.checkpoint import STATE_KEY, check_fit, config_of, extract_state
from network.errors import WeightsError
from network.files import read_file
from network.writing import replacing
from utils.errors import SettingsError
from utils.run_folder import BEST, BEST_EMA, LAST, PREVIOUS
from utils.state import TrainingState

# Settings that a resumed run takes over from the states of optimizer and scheduler, and those that are no choice of the
# user's.
TAKEN_OVER = ("lr", "lr_schedule", "lr_schedule_gamma", "weight_decay")
NOT_CHOSEN = ("resume", "device", "launch", "torchrun", "run_id")
SECONDS_TO_RETRY = 60  # after a write that failed


class Checkpoints:
    """The checkpoint files in the folder of a run. Every file is written beside its place and renamed.

    ``minutes`` is the time from one ``last.pt`` to the next, ``config`` all settings of the run. A disk that refuses
    a file does not end the run: the file before it stays, the logger tells, and it is tried again.
    """

    def __init__(self, folder: Path, config: dict[str, Any], minutes: float) -> None:
        self.folder = folder
        self.config = config
        self.minutes = minutes
        self.logger: Logger | None = None
        self.best = {BEST: -1.0, BEST_EMA: -1.0}  # the mean F1 of these files on disk
        self.waiting: dict[str, dict[str, Any]] = {}  # weights that could not be written, by file
        self.unwritten: set[str] = set()  # files of which the newest could not be written
        self.next_save = time.monotonic() + 60 * minutes
        self.at = "the beginning"  # where a run goes on, as last.pt is

    @property
    def due(self) -> bool:
        """Whether it is time for ``last.pt``, or for another try at what could not be written."""
        return time.monotonic() >= self.next_save

    def weights(self, model: SegFace, state: TrainingState) -> dict[str, Any]:
        """What ``load_weights`` reads, with where it comes from. ``epoch`` counts from 0, as in the file's name."""
        return {
            STATE_KEY: model.state_dict(),
            "epoch": state.progress.epoch - 1,
            "iteration": state.progress.iteration,
            "config": {**self.config, **state.model.config},
            "best_f1": self.best[BEST],
        }

    def save_last(self, state: TrainingState) -> None:
        """Write ``last.pt``, all that resuming needs, and keep the one before it; every rank must call it."""
        captured = state.capture()
        self.next_save = time.monotonic() + 60 * self.minutes
        if captured is None:
            return
        self.write_waiting()
        content = self.weights(state.model, state) | captured | {"best_ema_f1": self.best[BEST_EMA]}
        if self.try_to_write(content, LAST):
            self.at = state.progress.where

    def save_epoch(self, state: TrainingState, scores: dict[str, Any], interval: int, is_last: bool) -> None:
        """At the end of an epoch: the best weights, ``last.pt``, and each ``interval`` epochs ``model_{epoch}.pt``.

        Of averaged weights, if any, there are ``best_ema.pt`` and ``ema_{epoch}.pt``. Every rank must call it. After
        a step that was not applied ``last.pt`` stays as it is until one is, as what led to it may be bad.
        """
        epoch = state.progress.epoch - 1
        models = [(state.model, "val", BEST, f"model_{epoch}.pt")]
        if state.ema:
            models.append((state.ema.module, "val_ema", BEST_EMA, f"ema_{epoch}.pt"))
        for model, key, best, numbered in models if state.world.is_main else ():
            if scores.get(key):  # not in every epoch
                self.save_best(model, state, best, scores[key]["mean_f1"])
            if is_last or state.progress.epoch % interval == 0:
                self.save_weights(model, state, numbered)
        if state.progress.bad_steps and not is_last:
            self.next_save = time.monotonic()
            self.logger.warning(f"the last step was not applied; {LAST} stays at {self.at} until one is")
        else:
            self.save_last(state)

    def save_best(self, model: SegFace, state: TrainingState, name: str, mean_f1: float | None) -> None:
        """Write the weights as ``best.pt`` or ``best_ema.pt`` if they are better than those there."""
        waiting = self.waiting.get(name, {}).get("mean_f1", -1.0)
        if (mean_f1 or 0.0) > max(self.best[name], waiting):
            self.save_weights(model, state, name, mean_f1 or 0.0)

    def save_weights(self, model: SegFace, state: TrainingState, name: str, mean_f1: float | None = None) -> None:
        """Write the weights alone."""
        content = self.weights(model, state) | {"mean_f1": mean_f1}
        if name == BEST:
            content["best_f1"] = mean_f1
        if self.try_to_write(content, name):
            self.waiting.pop(name, None)
        else:
            copies = {key: tensor.cpu().clone() for key, tensor in content[STATE_KEY].items()}
            self.waiting[name] = content | {STATE_KEY: copies}

    def write_waiting(self) -> None:
        """Try again to write what could not be written."""
        for name in list(self.waiting):
            if not self.try_to_write(self.waiting[name], name):
                return
            del self.waiting[name]

    def try_to_write(self, content: dict[str, Any], name: str) -> bool:
        """Write a file and say whether the disk took it."""
        try:
            with replacing(self.folder / name) as file:
                save(content, file)
                if name == LAST:
                    self.keep_previous()
        except OSError as error:
            self.unwritten.add(name)
            self.next_save = time.monotonic() + min(SECONDS_TO_RETRY, 60 * self.minutes)
            self.logger.warning(
                f"could not write {self.folder / name}: {error.strerror}. What was there stays as it was; training "
                "goes on and tries again later. Make room on the disk"
            )
            return False
        self.unwritten.discard(name)
        if name in self.best:
            self.best[name] = content["mean_f1"]
        return True

    def check_all_written(self) -> None:
        """At the end of a run: raise SettingsError if there is a file that the disk did not take."""
        self.write_waiting()
        if self.unwritten:
            raise SettingsError(
                f"{', '.join(sorted(self.unwritten))} could not be written to {self.folder}. Make room on the disk, "
                f"and pass --resume to the same command: it goes on from the {LAST} that is there"
            )

    def keep_previous(self) -> None:
        """Give the ``last.pt`` that is about to be replaced its second name."""
        link = self.folder / f".{PREVIOUS}.tmp"
        with suppress(OSError):  # it may be missing, or the file system may know no hard links
            link.unlink(missing_ok=True)
            link.hardlink_to(self.folder / LAST)
            link.replace(self.folder / PREVIOUS)

    def resume(self, content: Mapping[str, Any], path: Path, state: TrainingState) -> list[str]:
        """Load what was found in the run's folder, and return what to tell about it.

        The learning rate and its schedule go on as they were, and ``config`` says so. Raises WeightsError for a file
        that does not fit.
        """
        saved = config_of(content)
        weights = extract_state(content, str(path))
        check_fit(state.model, weights, state.model.state_dict(), str(path))
        state.model.load_state_dict(weights)
        is_whole = "optimizer" in content
        taken_over = TAKEN_OVER if is_whole else ()
        changes = [
            f"another setting than before: --{key} {self.config[key]} (was {value})"
            + (": stays as it was" if key in taken_over else "")
            for key, value in saved.items()
            if key not in NOT_CHOSEN and self.config.get(key, value) != value
        ]
        self.config |= {key: saved[key] for key in (*taken_over, "run_id") if key in saved}
        if not is_whole:
            state.restart_after(content)
            changes.append(f"{path.name} holds weights alone: the optimizer begins afresh")
        else:
            try:
                state.restore(content)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise WeightsError(
                    f"{path} cannot be gone on from: {error}. Move it away to go on from the weights beside it"
                ) from error
        batches = [key for key in ("ranks", "train_bs", "grad_accum") if saved.get(key) != self.config[key]]
        if batches:
            changes.append(
                f"with other {', '.join(batches)} every image still comes once in an epoch, but in other batches: the "
                "result will not be that of a run that was never interrupted"
            )
        if state.world.is_main:
            remembered = {BEST: content.get("best_f1", -1.0), BEST_EMA: content.get("best_ema_f1", -1.0)}
            self.best = {name: self.f1_on_disk(name, remembered[name]) for name in self.best}
        self.at = state.progress.where
        return changes

    def f1_on_disk(self, name: str, remembered: float) -> float:
        """The mean F1 of ``best.pt`` or ``best_ema.pt``, which may be newer than the file that is gone on from."""
        try:
            return read_file(self.folder / name).get("mean_f1", remembered)
        except (WeightsError, OSError):  # there is none, or a damaged one
            return -1.0


def save(content: dict[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint. Raises OSError for what the disk refuses."""
    try:
        torch.save(content, file)
        file.flush()
    except RuntimeError as error:  # what torch.save makes of the OSError that the file raised
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
