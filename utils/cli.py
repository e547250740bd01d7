"""How a command ends when something is wrong: one clear message, no traceback."""

import sys
from collections.abc import Callable

from datasets import DataError
from network import ModelError
from utils.config import SettingsError

EXPECTED = (DataError, ModelError, SettingsError, FileNotFoundError, ConnectionError)


def run(main: Callable[[], None]) -> None:
    """Call ``main``; what a user can mend ends the process with its message and exit code 1."""
    try:
        main()
    except EXPECTED as error:
        # An error from a data worker comes wrapped in that worker's traceback; the message is its end.
        message = str(error).rpartition(f"{type(error).__name__}: ")[2].strip()
        sys.exit(f"error: {message}")
