"""Folders to write to. Needs no PyTorch."""

import tempfile
from pathlib import Path

from utils.errors import SettingsError


def prepare_folder(folder: Path, remedy: str = "Set LOG_PATH to a folder of yours") -> None:
    """Make a folder, and see before any work that it can be written to. Raises SettingsError with the ``remedy``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error.strerror}. {remedy}") from error
