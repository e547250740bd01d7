"""The folder of a training run: whose it is, and what in it a run can go on from."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from network.checkpoint import config_of, extract_state
from network.errors import WeightsError
from network.files import read_file
from utils.errors import RankError, SettingsError
from utils.folders import prepare_folder

LAST, PREVIOUS, BEST, BEST_EMA = "last.pt", "previous.pt", "best.pt", "best_ema.pt"
# What a file must hold, beside the weights, to go on from them, and to go on exactly.
OF_WEIGHTS = {"epoch": int, "iteration": int}
OF_A_RUN = {**OF_WEIGHTS, "optimizer": Mapping, "scheduler": Mapping}
FIXED = ("dataset", "backbone", "model", "input_resolution")  # settings that a resumed run cannot change


class RunFolder:
    """The folder ``path`` of a run with the settings ``config``."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config

    def look_for_a_run(self, resume: bool, is_started_again: bool) -> tuple[Path | None, list[str]]:
        """Take the folder, and find what to go on from if that is wished, or if torchrun started this run again.

        Returns what ``find`` does. What a killed run was about to write is removed.
        """
        prepare_folder(self.path)
        self.claim()
        for unfinished in self.path.glob(".*.tmp"):
            unfinished.unlink(missing_ok=True)
        return self.find() if resume or self.is_of_this_command(is_started_again) else (None, [])

    def claim(self) -> None:
        """Take the folder for this process, until it ends. Raises SettingsError where another one has it."""
        self.lock = (self.path.parent / f".{self.path.name}.lock").open("w")
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another process is training in {self.path}; stop it, or choose another --expt_name"
            ) from error
        except OSError:  # a file system without locks
            pass

    def is_of_this_command(self, is_started_again: bool) -> bool:
        """Whether the run in the folder was started by the torchrun command that started this process."""
        try:
            saved = json.loads((self.path / "config.json").read_text())
        except (OSError, ValueError):
            return False
        key = "torchrun" if is_started_again else "launch"  # older torchruns have a new store in each attempt
        return "launch" in saved and (saved["launch"] == self.config["launch"] or saved.get(key) == self.config[key])

    def find(self) -> tuple[Path | None, list[str]]:
        """The file to go on from, and what to tell about it; a damaged ``last.pt`` is renamed.

        That is ``last.pt``, else the one before it, else the newest weights, else None. Raises SettingsError where it
        is of another dataset or model.
        """
        notices = []
        weights = sorted((*self.path.glob("model_*.pt"), *self.path.glob(BEST)), key=modified, reverse=True)
        for path in (self.path / LAST, self.path / PREVIOUS, *weights):
            if not path.is_file():
                continue
            try:
                content = read_file(path)
                extract_state(content, str(path))
                check_complete(content, path)
            except (WeightsError, OSError) as error:
                notices.append(str(error))
                if path.name == LAST:
                    notices.append(f"{LAST} was set aside as {set_aside(path)}")
                continue
            self.check_settings(content, path)
            if notices:
                notices.append(f"going on from {path}, the newest good checkpoint")
            return path, notices
        return None, notices

    def read(self, path: Path) -> Mapping[str, Any]:
        """The file that the main rank found, on any rank."""
        if not path.is_file():
            raise RankError(f"{path} is not there for every rank; LOG_PATH must be on storage that all nodes share")
        return read_file(path)

    def check_settings(self, content: Mapping[str, Any], path: Path) -> None:
        saved = config_of(content)
        for key in FIXED:
            if saved.get(key, self.config[key]) != self.config[key]:
                raise SettingsError(
                    f"{path} is of a run with --{key} {saved[key]}, not {self.config[key]}; pass the same settings to "
                    "--resume, or another --expt_name to start afresh"
                )

    def make_room(self) -> Path | None:
        """Rename the folder of an earlier run that has checkpoints, so that a new one cannot overwrite them."""
        return set_aside(self.path) if any(self.path.glob("*.pt*")) else None


def check_complete(content: Mapping[str, Any], path: Path) -> None:
    """Raise WeightsError for a file that lacks what its name promises."""
    needed = OF_A_RUN if path.name in (LAST, PREVIOUS) else OF_WEIGHTS
    missing = [name for name, kind in needed.items() if not isinstance(content.get(name), kind)]
    if missing:
        raise WeightsError(f"{path} has no {', '.join(missing)}; it cannot be gone on from.")


def set_aside(path: Path) -> Path:
    """Rename a file or folder to the first free ``NAME.1``, ``NAME.2`` and so on."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(aside)


def modified(path: Path) -> int:
    return path.stat().st_mtime_ns
