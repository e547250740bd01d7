"""What the three datasets share: samples, reading with checks, transforms, and errors that say what to do."""

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from datasets.cache import Entry, SampleCache, Shelf, fetch
from datasets.errors import DataError
from datasets.labels import IGNORE, Labels
from datasets.transforms import AffineRange, Face, affine, resize, to_tensors

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)


def data_error(path: Path, found: str, expected: str, remedy: str) -> DataError:
    """The one form of every message about a file."""
    return DataError(f"{path}: found {found}; expected {expected}. {remedy}")


@dataclass(frozen=True)
class Sample:
    """The files of one face. ``labels`` is the label map, or for CelebAMask-HQ the masks of the parts that exist.

    ``whole`` is False where a file is missing, which is found only while problems are collected.
    """

    name: str
    image: Path
    labels: tuple[Path, ...]
    landmarks: Path | None = None
    whole: bool = True


class FaceParsingDataset(Dataset):
    """A split of a dataset on disk: ``dataset[i]`` is a dict.

    ``image`` uint8 (3, R, R) RGB, ``label`` uint8 (R, R) of class indices (255 where a label file says "ignore"),
    ``landmarks`` float32 (5, 2) in pixels of the R x R image, ``name`` str. Every file of the split is looked for when
    the dataset is built; DataError says what is missing or broken, then or at reading, and nothing is ever skipped.

    ``augmentation`` is drawn anew in each epoch (``set_epoch``) from (seed, epoch, index) alone. A ``cache`` makes
    reading faster and changes no sample. With a list of ``problems`` the errors that leave something else to look at
    are put there instead of raised.
    """

    labels: Labels
    augmentation: AffineRange | None = None
    splits: tuple[str, ...] = ("train", "val", "test")
    same_splits: dict[str, str] = {}  # splits that are another one under a second name

    def __init__(
        self,
        root: str | Path,
        split: str,
        resolution: int,
        augment: bool | None = None,
        seed: int = 0,
        cache: SampleCache | None = None,
        problems: list[DataError] | None = None,
    ):
        self.root = Path(root)
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}; choose one of {', '.join(self.splits)}")
        self.split = split
        self.resolution = resolution
        self.seed = seed
        self.augment = split == "train" if augment is None else augment
        self.problems = problems
        # Shared memory, so that workers which outlive an epoch see the next one.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        require_folder(self.root, f"the {self.labels.title} dataset")
        self.samples = self.find_samples()
        if not self.samples and not self.problems:
            raise data_error(self.root, f"no image in split {split!r}", "at least one", self.remedy)

        key = (str(self.root.resolve()), self.labels.names)
        self.kept_labels = cache.labels(self.labels.title, key) if cache else None
        keeps_samples = cache and cache.images and not (self.augment and self.augmentation)
        self.kept_samples = cache.samples(self.labels.title, key, resolution) if keeps_samples else None

    @property
    def remedy(self) -> str:
        """Where to look for the layout that is expected."""
        return f"See README, 'Data', for the layout of {self.labels.title}, and unpack the dataset again."

    @abstractmethod
    def find_samples(self) -> list[Sample]:
        """The files of the split in their published order, all of which exist."""

    def complain(self, error: DataError) -> None:
        """Raise an error, or collect it where problems are collected: then what is left is looked at, too."""
        if self.problems is None:
            raise error
        self.problems.append(error)

    def has_all(self, files: Mapping[Path, str] = {}, folders: Mapping[Path, str] = {}) -> bool:
        """Whether paths, each with what it is, exist; each one that does not is complained of."""
        complete = True
        for require, wanted in ((require_file, files), (require_folder, folders)):
            for path, what in wanted.items():
                try:
                    require(path, what)
                except DataError as error:
                    self.complain(error)
                    complete = False
        return complete

    def read(self, sample: Sample) -> Face:
        """Read the files of a sample, checked, before augmentation and resizing."""
        image = read_rgb(sample.image)
        points = self.read_landmarks(sample)
        return Face(image, self.read_label(sample, image.size), points)

    @abstractmethod
    def read_landmarks(self, sample: Sample) -> np.ndarray:
        """The points (N, 2) of a sample in pixels of its image, of which ``five_landmarks`` makes five."""

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation of this epoch from now on, in running workers too."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        sample = self.samples[index]
        tensors = fetch(self.entry(self.kept_samples, sample), partial(self.make, index))
        return {**tensors, "name": sample.name}

    def make(self, index: int) -> dict[str, torch.Tensor]:
        """The tensors of a sample from its files."""
        face = self.read(self.samples[index])
        if self.augment and self.augmentation:
            generator = np.random.default_rng((self.seed, self.epoch.item(), index))
            face = affine(face, self.augmentation.draw(generator, face.image.size))
        face = resize(face, self.resolution)
        return to_tensors(replace(face, landmarks=self.five_landmarks(face.landmarks)))

    def entry(self, shelf: Shelf | None, sample: Sample) -> Entry | None:
        """The cache's entry for a sample's files as they are now, so to be asked for before they are read.

        None without a cache, and where a file is gone: which one, reading will tell.
        """
        if shelf is None:
            return None
        try:
            return shelf.entry(sample.image.relative_to(self.root), self.fingerprint(sample))
        except OSError:
            return None

    def fingerprint(self, sample: Sample) -> list:
        """All that tells a sample's files from changed ones without opening them; OSError if one is missing."""
        files = [sample.image, *sample.labels, *([sample.landmarks] if sample.landmarks else [])]
        stats = [(file, file.stat()) for file in files]
        return [(str(file.relative_to(self.root)), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def five_landmarks(self, points: np.ndarray) -> np.ndarray:
        """Eyes, nose tip and mouth corners (5, 2), image left first, of the points that ``read`` returned."""
        return points

    def read_label(self, sample: Sample, size: tuple[int, int] | None) -> Image.Image:
        """The label map of class indices, of the ``size`` (width, height) of its image if that is known."""
        (path,) = sample.labels
        label = read_picture(path)
        if label.mode not in ("L", "P", "1", "I;16", "I"):
            raise data_error(path, f"a label map of mode {label.mode}", "one channel of class indices", self.remedy)
        values = np.asarray(label)
        if size and label.size != size:
            found = f"a label map of {label.width} x {label.height}"
            self.complain(data_error(path, found, f"the size of its image, {size[0]} x {size[1]}", self.remedy))
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
    except (OSError, UnicodeDecodeError) as error:
        raise data_error(
            path, f"no text that can be read ({error})", what, "Copy or unpack this file again."
        ) from error
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
