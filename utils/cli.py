"""How a command ends when something is wrong: one clear message, no traceback."""

import errno
import os
import sys
from collections.abc import Callable

from datasets import DataError
from network import ModelError
from utils.errors import PeerError, RankError, SettingsError

EXPECTED = (
    DataError,
    ModelError,
    SettingsError,
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    TimeoutError,
    FloatingPointError,
    PeerError,
)
# Of these one message is enough, that of the main rank.
SAME_ON_ALL_RANKS = (SettingsError, FloatingPointError, PeerError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")


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
        elif isinstance(error, RankError) or not isinstance(error, SAME_ON_ALL_RANKS):
            sys.stderr.write(f"\nerror on rank {rank}: {message}\n")
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.stderr.write(
            f"\nerror: {error.filename or 'a file'} could not be written: {error.strerror}. Make room there\n"
        )
        sys.exit(1)
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if reason.startswith("DataLoader worker"):
            remedy = "lower --num_workers, or give it more memory (in a container also /dev/shm)"
            sys.stderr.write(f"\nerror: a process that reads data was killed ({reason}); {remedy}\n")
        elif "RANK" in os.environ and any(sign in str(error) for sign in LOST_PEER):
            sys.stderr.write(f"\nrank {os.environ['RANK']} ends, as another rank was lost: {reason}\n")
        else:
            raise
        sys.exit(1)
