"""Files of weights on disk, read without running what is in them."""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from network.errors import WeightsError

# What torch.load raises on a file that is cut short, overwritten or no checkpoint at all.
DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SafetensorError,
    TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read_file(path: Path) -> Mapping[str, Any]:
    """Read a ``.pt``, ``.pth`` or ``.safetensors`` file onto the CPU; only tensors and plain values are admitted."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; expected a checkpoint file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0].rstrip(".")
        raise WeightsError(
            f"{path} was refused: {reason}. A file of weights holds tensors and plain values alone; anything else in "
            "it could run code on this machine, so it is not opened, or the file is damaged. Get it from its source "
            "again."
        ) from error
    except DAMAGED as error:
        raise WeightsError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint: {error}. It is incomplete or of "
            "another kind; fetch or copy it again."
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a dict of tensors")
    return content


def check_sums(path: Path) -> None:
    """Raise BadZipFile where a part of a ``.pt`` file is not what was written, which torch.load would not notice."""
    if zipfile.is_zipfile(path):  # files of PyTorch before 1.6 are none
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"the checksum of its part {damaged} is wrong")
