"""What a run writes for people and programs: train.log, metrics.jsonl, JSON files."""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from network.writing import replacing

FORMAT = logging.Formatter("%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


class Unbreakable:
    """A stream that loses what cannot be written, as a full disk under a run's output must not end the run."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def progress_bar(title: str, total: int, is_main: bool, initial: int = 0) -> tqdm:
    """A bar that counts images, on the main rank."""
    return tqdm(
        desc=title, total=total, initial=initial, unit="img", disable=not is_main, dynamic_ncols=True,
        file=Unbreakable(sys.stderr),
    )  # fmt: skip


class TqdmHandler(logging.Handler):
    """Prints lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=Unbreakable(sys.stdout))


class LogFile(logging.FileHandler):
    """A log on disk that a full disk may keep from growing: its lines are printed too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, logging's name
        pass


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
        handlers.append(LogFile(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(FORMAT)
        logger.addHandler(handler)
    return logger


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, one line an epoch. It is written anew each time, whole or not at all.

    The lines of ``epoch`` and later ones, which a resumed run will write again, are dropped.
    """

    def __init__(self, path: Path, epoch: int = 0) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.entries = [entry for entry in map(to_entry, lines) if entry and entry["epoch"] < epoch]

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line. Where the disk refuses it, OSError is raised, and it is written with the next one."""
        self.entries.append(entry)
        with replacing(self.path) as file:
            file.writelines((json.dumps(entry) + "\n").encode() for entry in self.entries)


def to_entry(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl, or None for another, such as half a one."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) and "epoch" in entry else None
