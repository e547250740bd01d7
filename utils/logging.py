"""What a run writes for people and programs: train.log, metrics.jsonl, JSON files."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from network.files import replacing

FORMAT = logging.Formatter("%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


class TqdmHandler(logging.Handler):
    """Prints lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def create_logger(log_file: Path | None, is_main: bool) -> logging.Logger:
    """A logger that prints, and appends to ``log_file``, on the main rank; silent on the others."""
    logger = logging.getLogger("segface")
    logger.setLevel(logging.INFO if is_main else logging.CRITICAL)
    logger.propagate = False
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    handlers = [TqdmHandler()]
    if is_main and log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(FORMAT)
        logger.addHandler(handler)
    return logger


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, one line an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep_before(self, epoch: int) -> None:
        """Drop the lines of ``epoch`` and later ones, which a resumed run will write again."""
        if self.path.is_file():
            lines = [line for line in self.path.read_text().splitlines() if self.epoch_of(line) < epoch]
            with replacing(self.path) as file:
                file.write("".join(line + "\n" for line in lines).encode())

    @staticmethod
    def epoch_of(line: str) -> float:
        try:
            return json.loads(line)["epoch"]
        except (json.JSONDecodeError, KeyError, TypeError):  # half a line, of a run that was killed as it wrote
            return float("inf")

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
