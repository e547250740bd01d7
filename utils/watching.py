"""What a run shows after each epoch: metrics.jsonl, curves.png, gallery.png, and Weights & Biases."""

from collections.abc import Callable
from functools import partial
from logging import Logger
from pathlib import Path
from typing import Any

from datasets import FaceParsingDataset
from utils.curves import curves
from utils.logging import MetricsFile
from utils.report import percent
from utils.samples import choose, predict
from utils.state import TrainingState
from utils.tracking import Tracker
from utils.visualize import can_draw, gallery


class Watcher:
    """Keeps metrics and pictures of a run up to date, on the main rank. What the disk refuses is told and left out.

    ``samples`` is how many pictures of the validation split the gallery shows, the same ones each time.
    """

    def __init__(
        self,
        folder: Path,
        val_set: FaceParsingDataset,
        samples: int,
        state: TrainingState,
        logger: Logger,
        tracker: Tracker,
    ) -> None:
        self.folder = folder
        self.val_set = val_set
        self.samples = samples
        self.state = state
        self.logger = logger
        self.tracker = tracker
        self.metrics_file = MetricsFile(folder / "metrics.jsonl", state.progress.epoch)
        self.draws = state.world.is_main and can_draw(logger)
        self.chosen: list[int] | None = None

    def note(self, entry: dict[str, Any]) -> None:
        """Take in the line of an epoch."""
        if self.state.world.is_main:
            self.attempt("metrics.jsonl", partial(self.metrics_file.append, entry))
            self.tracker.log_epoch(entry)

    def draw(self, entry: dict[str, Any]) -> None:
        """Draw the pictures, after an epoch that was validated."""
        if entry["val"] and self.draws:
            draw = partial(curves, self.metrics_file.entries, self.val_set.labels, title=self.folder.name)
            self.attempt("curves.png", lambda: draw(self.folder / "curves.png"))
            if self.samples:
                self.show_gallery(entry)

    def show_gallery(self, entry: dict[str, Any]) -> None:
        """Draw the chosen pictures with what the model makes of them now."""
        if self.chosen is None:
            self.chosen = choose(self.val_set, self.samples)
        rows = predict(self.state.model, self.val_set, self.chosen, self.state.world)
        title = f"validation after epoch {entry['epoch']}: mean F1 {percent(entry['val']['mean_f1']).strip()}"
        picture = self.folder / "gallery.png"
        if self.attempt(picture.name, partial(gallery, rows, self.val_set.labels, picture, title=title)):
            self.tracker.log_picture(picture, entry["epoch"])

    def attempt(self, name: str, write: Callable[[], None]) -> bool:
        """Write a file and say whether that worked."""
        try:
            write()
        except OSError as error:
            self.logger.warning(f"could not write {self.folder / name}: {error.strerror}")
            return False
        return True
