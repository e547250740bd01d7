"""Samples kept on disk in a form that is fast to read: composed label maps, and whole samples that never change.

An entry is a file of its own, ended by a seal: what it was made of, and a checksum. Whatever carries another seal
(other sources, damage, a foreign file) is made again, so the cache can be shared, copied, cut short or deleted.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import PIL
import torch
from PIL import Image

T = TypeVar("T")
Tensors = dict[str, torch.Tensor]

VERSION = 1  # of the entries: to be raised when the same sources give other ones
LABELS, SAMPLES = KINDS = ("labels", "samples")
# What an entry must leave free on its disk, in bytes: checkpoints need it more.
RESERVE = {LABELS: 256 * 2**20, SAMPLES: 2 * 2**30}
LOW = -1  # beside error numbers, the reason that the reserve is reached
SEAL_BYTES = 32 + 4  # a hash of the sources, a checksum of the content


class SampleCache:
    """A folder of entries, which any number of processes and machines may read and write at once.

    Label maps are kept for datasets that compose them of several files; with ``images``, samples that are not augmented
    are kept whole, at 4 bytes a pixel. Where writing fails, or the disk's reserve is reached, nothing more of that kind
    is written by any process that shares this object (a DataLoader's workers do), and ``complaint`` says so. Reading
    goes on, and no error of the cache ever reaches its user.
    """

    def __init__(self, folder: str | Path, images: bool = False):
        self.folder = Path(folder)
        self.images = images
        # Error numbers by kind, 0 while all is well. Shared memory, so that workers can tell the main process.
        self.stopped = torch.zeros(len(KINDS), dtype=torch.int64).share_memory_()
        self.said: set[str] = set()

    def labels(self, title: str, key: Sequence) -> Shelf[Image.Image]:
        """Label maps, mode L, as PNG. ``title`` is for people; ``key`` is all that they depend on beside the files."""
        return Shelf(self, LABELS, f"{title}-{LABELS}", (*key, LABELS), ".png", encode_label, decode_label)

    def samples(self, title: str, key: Sequence, resolution: int) -> Shelf[Tensors]:
        """Samples of a resolution, uncompressed; ``title`` and ``key`` as above."""
        # Another Pillow may decode and resize differently.
        key = (*key, SAMPLES, resolution, PIL.__version__)
        decode = partial(decode_sample, resolution=resolution)
        return Shelf(self, SAMPLES, f"{title}-{SAMPLES}-{resolution}", key, ".sample", encode_sample, decode)

    def write(self, kind: str, path: Path, content: Callable[[], bytes]) -> None:
        """Put a file in its place, unless writing has failed before; if it fails now, that is noted."""
        stopped = self.stopped[KINDS.index(kind)]
        if stopped:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < RESERVE[kind]:
                stopped.fill_(LOW)
            else:
                put(path, content())
        except OSError as error:
            stopped.fill_(error.errno or errno.EIO)

    def complaint(self) -> str | None:
        """Why entries are no longer written, once for each reason, in the process that asks; else None."""
        reasons = dict.fromkeys(
            self.reason(kind) for kind, why in zip(KINDS, self.stopped.tolist(), strict=True) if why
        )
        new = [reason for reason in reasons if reason not in self.said]
        self.said.update(new)
        if not new:
            return None
        return f"could not write to {self.folder}: {' and '.join(new)}; going on without caching what is not there yet"

    def reason(self, kind: str) -> str:
        """Why a kind of entries is no longer written."""
        why = self.stopped[KINDS.index(kind)].item()
        if why == LOW:
            return f"its disk has less than {RESERVE[kind] / 2**30:g} GiB left, which are for checkpoints"
        return os.strerror(why)


class Shelf(Generic[T]):
    """The entries of one kind of one dataset, in a folder whose name has a hash of all that they have in common."""

    def __init__(
        self,
        cache: SampleCache,
        kind: str,
        name: str,
        key: Sequence,
        suffix: str,
        encode: Callable[[T], bytes],
        decode: Callable[[np.ndarray], T],
    ):
        self.cache, self.kind, self.suffix, self.encode, self.decode = cache, kind, suffix, encode, decode
        self.key = json.dumps([VERSION, *key])
        self.folder = cache.folder / f"{name}-{hashlib.sha256(self.key.encode()).hexdigest()[:16]}"

    def entry(self, name: Path, fingerprint: Sequence) -> Entry[T]:
        """The entry of ``name``, a relative path, made of sources with this ``fingerprint`` (for JSON)."""
        digest = hashlib.sha256((self.key + json.dumps(fingerprint)).encode()).digest()
        return Entry(self, self.folder / name.with_suffix(self.suffix), digest)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A file of the cache, there or not; ``digest`` stands for all that its content is made of."""

    shelf: Shelf[T]
    path: Path
    digest: bytes

    def read(self) -> T | None:
        """What the file holds, if it is whole and made of the same sources."""
        try:
            data = np.fromfile(self.path, np.uint8)
        except OSError:
            return None
        content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
        return self.shelf.decode(content) if seal.tobytes() == self.seal(content) else None

    def write(self, value: T) -> None:
        """Keep a value, if that is possible."""
        self.shelf.cache.write(self.shelf.kind, self.path, lambda: self.sealed(self.shelf.encode(value)))

    def sealed(self, content: bytes) -> bytes:
        """Content as it lies on disk. A PNG with a seal stays one: what comes after its end is not looked at."""
        return content + self.seal(content)

    def seal(self, content: bytes | np.ndarray) -> bytes:
        """What follows the content in the file."""
        return self.digest + zlib.crc32(content, zlib.crc32(self.digest)).to_bytes(4, "little")


def fetch(entry: Entry[T] | None, make: Callable[[], T]) -> T:
    """What an entry holds; else, or if there is none, what ``make`` returns, which is then kept."""
    if entry is None:
        return make()
    value = entry.read()
    if value is None:
        value = make()
        entry.write(value)
    return value


def put(path: Path, content: bytes) -> None:
    """Write a file under a name of its own and rename it, so that nobody ever reads a part; OSError if that fails."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # unique over processes and machines
    try:
        with temporary.open("xb") as file:
            file.write(content)
        try:
            temporary.replace(path)
        except IsADirectoryError:
            shutil.rmtree(path, ignore_errors=True)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_label(label: Image.Image) -> bytes:
    file = io.BytesIO()
    label.save(file, "png")
    return file.getvalue()


def decode_label(content: np.ndarray) -> Image.Image:
    label = Image.open(io.BytesIO(content))
    label.load()
    return label


def encode_sample(sample: Tensors) -> bytes:
    return b"".join(sample[key].numpy().tobytes() for key in ("image", "label", "landmarks"))


def decode_sample(content: np.ndarray, resolution: int) -> Tensors:
    """Tensors that share the memory of ``content``."""
    image, label, landmarks = np.split(content, (3 * resolution**2, 4 * resolution**2))
    return {
        "image": torch.from_numpy(image.reshape(3, resolution, resolution)),
        "label": torch.from_numpy(label.reshape(resolution, resolution)),
        "landmarks": torch.from_numpy(landmarks.view(np.float32).reshape(5, 2)),
    }
