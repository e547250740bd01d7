"""How a command ends when something is wrong: one clear message, no traceback."""

import os
import sys
from collections.abc import Callable

from datasets import DataError
from network import ModelError
from utils.config import SettingsError

EXPECTED = (
    DataError,
    ModelError,
    SettingsError,
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    FloatingPointError,
)


def run(main: Callable[[], None]) -> None:
    """Call ``main``; what a user can mend ends the process with its message and exit code 1, and Ctrl-C with 130."""
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        sys.exit(130)
    except EXPECTED as error:
        # An error from a data worker comes wrapped in that worker's traceback; the message is its end.
        message = str(error).rpartition(f"{type(error).__name__}: ")[2].strip()
        rank = os.environ.get("RANK", "0")
        if rank == "0":
            sys.stderr.write(f"\nerror: {message}\n")
        elif not isinstance(error, SettingsError):  # those are the same on every rank
            sys.stderr.write(f"\nerror on rank {rank}: {message}\n")
        sys.exit(1)
