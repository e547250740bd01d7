"""Helen, relabelled, on disk (Le et al., ECCV 2012; Lin et al., CVPR 2019): label maps and 68 landmarks."""

from dataclasses import replace

import numpy as np

from datasets.base import (
    DataError,
    FaceParsingDataset,
    Sample,
    data_error,
    group_means,
    read_lines,
    to_points,
)
from datasets.labels import LABELS
from datasets.transforms import Face, crop

IMAGE, LABEL, LANDMARKS = "_image.jpg", "_label.png", "landmarks.txt"
NUM_POINTS = 68
LANDMARK_SCALE = 2  # the file's coordinates are those of an image of twice the size
CROP_MARGIN = 1.2
# Left eye, right eye, nose tip, mouth corners (image left first): means of these of the 68 points.
FIVE_OF_68 = (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,))


class Helen(FaceParsingDataset):
    """Helen: 11 classes, five landmarks, each image cropped around its face. Validation uses the test split."""

    labels = LABELS["helen"]
    same_splits = {"val": "test"}

    def find_samples(self) -> list[Sample]:
        split = self.same_splits.get(self.split, self.split)
        folder = self.root / split
        landmarks = {self.root / LANDMARKS: "the landmarks of Helen"}
        if not self.has_all(files=landmarks, folders={folder: f"Helen's {split} split"}):
            return []
        self.points = self.read_all_landmarks()
        samples = []
        names = {path.name.removesuffix(end) for end in (IMAGE, LABEL) for path in folder.glob(f"*{end}")}
        for name in sorted(names):
            image, label = folder / f"{name}{IMAGE}", folder / f"{name}{LABEL}"
            complete = self.has_all({image: f"the image of {label.name}", label: f"the label map of {image.name}"})
            if name not in self.points:
                found = f"no line for {name}"
                self.complain(data_error(self.root / LANDMARKS, found, "one for every image", self.remedy))
            samples.append(Sample(name, image, (label,), whole=complete and self.points.get(name) is not None))
        return samples

    def read_all_landmarks(self) -> dict[str, np.ndarray | None]:
        """By name, the 68 points (68, 2) in pixels of the image, from lines of 136 numbers and a name.

        None where a line is broken, which is found only while problems are collected.
        """
        path = self.root / LANDMARKS
        points = {}
        for number, words in enumerate(read_lines(path, "the landmarks of Helen"), start=1):
            name = words[-1]
            try:
                points[name] = self.points_of_line(words, number)
            except DataError as error:
                self.complain(error)
                points[name] = None
        return points

    def points_of_line(self, words: list[str], number: int) -> np.ndarray:
        """The points (68, 2) of line ``number`` in pixels of the image."""
        *coordinates, name = words
        path = self.root / LANDMARKS
        if len(coordinates) != 2 * NUM_POINTS:
            found = f"line {number} ({name}) has {len(coordinates)} numbers"
            raise data_error(path, found, f"{2 * NUM_POINTS} numbers and a name", self.remedy)
        return to_points(coordinates, path, number, self.remedy) / LANDMARK_SCALE

    def read_landmarks(self, sample: Sample) -> np.ndarray:
        return self.points[sample.name]

    def fingerprint(self, sample: Sample) -> list:
        # Not the state of the file of all landmarks, which was read at the start.
        return [*super().fingerprint(sample), self.points[sample.name].tobytes().hex()]

    def read(self, sample: Sample) -> Face:
        face = super().read(sample)
        size = face.image.size
        box = face_box(face.landmarks, size)
        if box[0] >= box[2] or box[1] >= box[3]:
            found = f"the landmarks of {sample.name} lie outside its image of {size[0]} x {size[1]}"
            raise data_error(self.root / LANDMARKS, found, "points of the face", self.remedy)
        face = crop(face, box)
        # The published landmarks were cropped in float32 and went on in float64.
        return replace(face, landmarks=face.landmarks.astype(np.float64))

    def five_landmarks(self, points: np.ndarray) -> np.ndarray:
        return group_means(points, FIVE_OF_68)


def face_box(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the square around the points, cut at the border of an image of ``size``."""
    points = points.astype(np.float64)
    low = points.min(0)
    extent = points.max(0) - low + 1
    centre = (low + extent / 2).astype(int)
    side = int(extent.max() * CROP_MARGIN)
    left, top = (int(c) - side // 2 for c in centre)
    return max(left, 0), max(top, 0), min(left + side, size[0]), min(top + side, size[1])
