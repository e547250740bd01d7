"""FaceParser: a picture in, a label map of the picture's own size out.

>>> parser = FaceParser.from_pretrained("mobilenet_celeba_512")
>>> result = parser("face.jpg")
>>> result.labels.shape, result.mask("hair").mean()
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.label_orders import conversion, in_order
from datasets.labels import Labels
from network.errors import ModelError
from utils.errors import SettingsError
from utils.inference.crops import Crop, Face, aligned, compose, probabilities, whole
from utils.inference.detection import MIN_SCORE, Detector, YuNet, fetch_detector
from utils.inference.models import Model, open_model
from utils.inference.pictures import as_rgb
from utils.visualize import overlay, with_legend

Picture = np.ndarray | Image.Image | str | Path


@dataclass(frozen=True)
class Prepared:
    """A picture, uint8 (H, W, 3) RGB, with the crops that the model is to see.

    ``faces`` are those that were looked for, None where the whole picture is taken for one.
    """

    image: np.ndarray
    crops: tuple[Crop, ...]
    faces: tuple[Face, ...] | None = None


@dataclass(frozen=True)
class Parsing:
    """What a picture shows: ``labels`` uint8 (H, W), the class of each pixel of ``image``, uint8 (H, W, 3) RGB.

    ``table`` has the names and colours of the classes, in the order of their values. ``faces`` are those that were
    found, with landmarks in pixels of the picture; None where none were looked for.
    """

    image: np.ndarray
    labels: np.ndarray
    table: Labels
    faces: tuple[Face, ...] | None
    crops: tuple[Crop, ...]
    owner: np.ndarray  # int16 (H, W): the crop that decided
    logits: np.ndarray  # (N, K, R, R) of the crops, in the model's own order
    model_table: Labels

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; a value in ``labels`` is an index into them."""
        return self.table.names

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """RGB colours of the classes, 0 to 255."""
        return self.table.palette

    def mask(self, name: str) -> np.ndarray:
        """Where a class is, bool (H, W). Raises ValueError for a name that is not among ``names``."""
        if name not in self.names:
            raise ValueError(f"unknown class {name!r}; {self.table.title} has {', '.join(self.names)}")
        return self.labels == self.names.index(name)

    def overlay(self, opacity: float = 0.55, legend: bool = False) -> np.ndarray:
        """The picture with the classes' colours, uint8 (H, W, 3); with a legend of those present it is wider."""
        picture = overlay(self.image, self.labels, self.table, opacity)
        return with_legend(picture, self.table, np.flatnonzero(self.pixels[1:]) + 1) if legend else picture

    def indexed(self) -> Image.Image:
        """The label map as a palette picture: its pixels are the labels, shown in the classes' colours."""
        picture = Image.fromarray(self.labels)
        picture.putpalette([value for colour in self.palette for value in colour])
        return picture

    @cached_property
    def pixels(self) -> np.ndarray:
        """Pixels of each class, int64 (K,)."""
        return np.bincount(self.labels.ravel(), minlength=len(self.names))

    def statistics(self) -> dict[str, dict[str, Any]]:
        """For each class its ``pixels``, their ``share`` of the picture (0 to 1), ``box`` and ``centroid``.

        The box is [left, top, right, bottom] in pixels, right and bottom just outside; the centroid [x, y], the mean of
        pixel indices. Both are None for a class that is not there.
        """
        return {name: self.statistics_of(index) for index, name in enumerate(self.names)}

    def statistics_of(self, index: int) -> dict[str, Any]:
        count = int(self.pixels[index])
        box = centroid = None
        if count:
            mask = self.labels == index
            columns, rows = np.count_nonzero(mask, axis=0), np.count_nonzero(mask, axis=1)
            (left, right), (top, bottom) = ((int(v[0]), int(v[-1]) + 1) for v in map(np.flatnonzero, (columns, rows)))
            box = [left, top, right, bottom]
            centroid = [round(float(n @ np.arange(len(n)) / count), 2) for n in (columns, rows)]
        return {"pixels": count, "share": count / self.labels.size, "box": box, "centroid": centroid}

    def probabilities(self) -> np.ndarray:
        """Probability of each class at each pixel, float16 (K, H, W)."""
        number = self.model_table.num_classes
        values = probabilities(self.labels.shape, self.crops, self.logits, self.owner, number)
        return values[np.argsort(conversion(self.model_table, self.table)[:number])]

    def in_order(self, order: str) -> "Parsing":
        """The same with the label values of another project (see datasets/label_orders.py)."""
        table = in_order(self.table, order)
        return replace(self, labels=conversion(self.table, table)[self.labels], table=table)


class FaceParser:
    """Parses pictures. Threads may share one.

    ``detector`` finds the faces in a picture, each of which is then parsed in an aligned crop; without one the whole
    picture is taken for a face, as the models were trained. ``batch_size`` is how many crops the model sees at once.
    ``label_order`` is that of the label values (see datasets/label_orders.py).
    """

    def __init__(
        self,
        model: Model,
        detector: Detector | None = None,
        batch_size: int = 8,
        label_order: str | None = None,
    ) -> None:
        self.model = model
        self.detector = detector
        self.batch_size = batch_size
        try:
            self.table = model.labels if label_order is None else in_order(model.labels, label_order)
        except ValueError as error:
            raise SettingsError(f"--label_order: {error}") from error
        self.label_order = label_order

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str = "auto",
        detect: bool = False,
        detector: str | Path | None = None,
        min_score: float = MIN_SCORE,
        batch_size: int = 8,
        label_order: str | None = None,
        **options: Any,
    ) -> "FaceParser":
        """A parser with the weights of a published name, a checkpoint, a published file, or an ONNX file.

        ``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. With ``detect`` faces are looked for, by the YuNet file
        at ``detector``, which is else fetched from the Hub. ``options`` go to TorchModel: ``amp``, and what the weights
        do not say of themselves. Raises what load_weights raises, ConnectionError where the Hub cannot be reached, and
        SettingsError for options that cannot be used.
        """
        finder = YuNet(detector or fetch_detector(), min_score) if detect or detector else None
        return cls(open_model(source, device, **options), finder, batch_size, label_order)

    def __call__(
        self,
        images: Picture | Sequence[Picture],
        landmarks: np.ndarray | None = None,
        faces: Sequence[np.ndarray] | None = None,
    ) -> Parsing | list[Parsing]:
        """Parse a picture, or a list of them, which gives a list.

        A picture is an RGB array uint8 (H, W, 3), a Pillow picture, or a path. ``landmarks`` are the five points (5, 2)
        of the face in one picture, eyes, nose tip, mouth corners, image left first, in its pixels, for a model that
        warps; without them it takes those of a face in the middle. ``faces`` are such points for each face of one
        picture that is to be parsed in an aligned crop of its own. Raises DataError for a file that cannot be read and
        ValueError for an array or landmarks of the wrong kind.
        """
        if isinstance(images, list | tuple):
            if landmarks is not None or faces is not None:
                raise ValueError("landmarks and faces are those of one picture; pass pictures with them one by one")
            return self.parse([self.prepare(as_rgb(image)) for image in images])
        if landmarks is not None and faces is not None:
            raise ValueError("landmarks are of the whole picture, and faces of crops; pass one of them")
        given = None if faces is None else [Face(to_points(points)) for points in faces]
        points = None if landmarks is None else to_points(landmarks)
        return self.parse([self.prepare(as_rgb(images), points, given)])[0]

    def prepare(
        self, rgb: np.ndarray, landmarks: np.ndarray | None = None, faces: Sequence[Face] | None = None
    ) -> Prepared:
        """The crops of a picture uint8 (H, W, 3): the whole with its landmarks, or one for each of its faces."""
        if faces is None and landmarks is None and self.detector:
            faces = self.detector(rgb)
        side = self.model.resolution
        if faces is None:
            return Prepared(rgb, (whole(rgb, side, landmarks),))
        return Prepared(rgb, tuple(aligned(rgb, face.landmarks, side) for face in faces), tuple(faces))

    def parse(self, pictures: Sequence[Prepared]) -> list[Parsing]:
        """Parsings of prepared pictures."""
        return [self.conclude(*both) for both in zip(pictures, self.logits(pictures), strict=True)]

    def logits(self, pictures: Sequence[Prepared]) -> list[np.ndarray]:
        """Logits (N, K, R, R) of the crops of each picture."""
        crops = [crop for picture in pictures for crop in picture.crops]
        side, classes = self.model.resolution, self.model.labels.num_classes
        found = [np.empty((0, classes, side, side), np.float32)]
        for start in range(0, len(crops), self.batch_size):
            batch = crops[start : start + self.batch_size]
            images, landmarks = (np.stack([getattr(crop, key) for crop in batch]) for key in ("image", "landmarks"))
            logits = self.model.logits(images, landmarks)
            if not np.isfinite(logits.sum()):
                raise ModelError(f"{self.model.description} gives logits that are not finite; its weights are spoilt")
            found.append(logits)
        ends = np.cumsum([len(picture.crops) for picture in pictures])
        return np.split(np.concatenate(found), ends)[: len(pictures)]

    def conclude(self, picture: Prepared, logits: np.ndarray) -> Parsing:
        """The parsing of a picture from the logits (N, K, R, R) of its crops."""
        labels, owner = compose(picture.image.shape[:2], picture.crops, logits)
        table = self.model.labels
        found = Parsing(picture.image, labels, table, picture.faces, picture.crops, owner, logits, table)
        return found if self.label_order is None else found.in_order(self.label_order)


def to_points(landmarks: Any) -> np.ndarray:
    """Five landmarks as float32 (5, 2). Raises ValueError for anything else."""
    points = np.asarray(landmarks, np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(
            f"landmarks of the shape {points.shape}; expected (5, 2): left eye, right eye, nose tip and the two mouth "
            "corners, image left first, in pixels"
        )
    return points
