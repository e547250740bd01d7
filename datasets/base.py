"""What the three datasets share: samples, reading with checks, transforms, and errors that say what to do."""

import zlib
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from datasets.labels import IGNORE, Labels
from datasets.transforms import AffineRange, Face, affine, resize, to_tensors

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)


class DataError(Exception):
    """A dataset on disk is not as it should be; the message names the file, what was found and what to do."""


def data_error(path: Path, found: str, expected: str, remedy: str) -> DataError:
    """The one form of every message about a file."""
    return DataError(f"{path}: found {found}; expected {expected}. {remedy}")


@dataclass(frozen=True)
class Sample:
    """The files of one face. ``labels`` is the label map, or for CelebAMask-HQ the masks of the parts that exist."""

    name: str
    image: Path
    labels: tuple[Path, ...]
    landmarks: Path | None = None


class FaceParsingDataset(Dataset):
    """A split of a dataset on disk: ``dataset[i]`` is a dict.

    ``image`` uint8 (3, R, R) RGB, ``label`` uint8 (R, R) of class indices (255 where a label file says "ignore"),
    ``landmarks`` float32 (5, 2) in pixels of the R x R image, ``name`` str. Every file of the split is looked for when
    the dataset is built; DataError says what is missing or broken, then or at reading, and nothing is ever skipped.

    ``augmentation`` is drawn anew in each epoch (``set_epoch``) from (seed, epoch, index) alone.
    """

    labels: Labels
    augmentation: AffineRange | None = None
    splits: tuple[str, ...] = ("train", "val", "test")

    def __init__(self, root: str | Path, split: str, resolution: int, augment: bool | None = None, seed: int = 0):
        self.root = Path(root)
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}; choose one of {', '.join(self.splits)}")
        self.split = split
        self.resolution = resolution
        self.seed = seed
        self.augment = split == "train" if augment is None else augment
        # Shared memory, so that workers which outlive an epoch see the next one.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        require_folder(self.root, f"the {self.labels.title} dataset")
        self.samples = self.find_samples()
        if not self.samples:
            raise data_error(self.root, f"no image in split {split!r}", "at least one", self.remedy)

    @property
    def remedy(self) -> str:
        """Where to look for the layout that is expected."""
        return f"See README, 'Data', for the layout of {self.labels.title}, and unpack the dataset again."

    @abstractmethod
    def find_samples(self) -> list[Sample]:
        """The files of the split in their published order, all of which exist."""

    @abstractmethod
    def read(self, sample: Sample) -> Face:
        """Read the files of a sample, checked, before augmentation and resizing."""

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation of this epoch from now on, in running workers too."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        sample = self.samples[index]
        face = self.read(sample)
        if self.augment and self.augmentation:
            generator = np.random.default_rng((self.seed, self.epoch.item(), index))
            face = affine(face, self.augmentation.draw(generator, face.image.size))
        face = resize(face, self.resolution)
        face = replace(face, landmarks=self.five_landmarks(face.landmarks))
        return {**to_tensors(face), "name": sample.name}

    def five_landmarks(self, points: np.ndarray) -> np.ndarray:
        """Eyes, nose tip and mouth corners (5, 2), image left first, of the points that ``read`` returned."""
        return points

    def read_label(self, path: Path, size: tuple[int, int]) -> Image.Image:
        """A label map of class indices, of the ``size`` (width, height) of its image."""
        label = read_picture(path)
        if label.mode not in ("L", "P", "1", "I;16", "I"):
            raise data_error(path, f"a label map of mode {label.mode}", "one channel of class indices", self.remedy)
        values = np.asarray(label)
        if label.size != size:
            found = f"a label map of {label.width} x {label.height}"
            raise data_error(path, found, f"the size of its image, {size[0]} x {size[1]}", self.remedy)
        wrong = values[(values >= self.labels.num_classes) & (values != IGNORE)]
        if wrong.size:
            expected = f"classes 0 to {self.labels.num_classes - 1}, or {IGNORE} for pixels to ignore"
            raise data_error(path, f"label value {wrong.flat[0]} in {wrong.size} pixels", expected, self.remedy)
        return Image.fromarray(values.astype(np.uint8))


def require_folder(path: Path, what: str) -> None:
    """Raise DataError unless a folder exists."""
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise data_error(
            path, found, f"the folder of {what}", "Check DATA_PATH in .env and the layout in README, 'Data'."
        )


def require_file(path: Path, what: str) -> Path:
    """The path of a file that exists, or DataError."""
    if not path.is_file():
        remedy = "Check DATA_PATH in .env and the layout in README, 'Data'; unpack the dataset again."
        raise data_error(path, "no such file", what, remedy)
    return path


def read_picture(path: Path) -> Image.Image:
    """A picture, decoded to its end."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError as error:
        raise data_error(path, "no such file", "a picture", "It was there at the start; restore it.") from error
    except UNREADABLE as error:
        found = f"a picture that cannot be read ({error})"
        raise data_error(path, found, "a whole JPEG or PNG", "Copy or unpack this file again.") from error


def read_rgb(path: Path) -> Image.Image:
    """A picture as RGB."""
    return read_picture(path).convert("RGB")


def read_lines(path: Path, what: str) -> list[list[str]]:
    """The lines of a text file, split into words; blank lines are left out."""
    try:
        text = require_file(path, what).read_text()
    except UnicodeDecodeError as error:
        raise data_error(path, f"no text ({error})", what, "Copy or unpack this file again.") from error
    return [line.split() for line in text.splitlines() if line.strip()]


def to_points(words: list[str], path: Path, line: int, remedy: str) -> np.ndarray:
    """Numbers ``x0 y0 x1 y1 ...`` as float32 (N, 2)."""
    try:
        points = np.array(words, dtype=np.float32).reshape(-1, 2)
    except ValueError as error:
        raise data_error(path, f"line {line} is no list of coordinates ({error})", "x y pairs", remedy) from error
    if not np.isfinite(points).all():
        raise data_error(path, f"line {line} has a coordinate that is not finite", "pixels", remedy)
    return points


def group_means(points: np.ndarray, groups: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """The mean point of each group of indices."""
    return np.stack([points[list(members)].mean(0) for members in groups])
