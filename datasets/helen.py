"""Helen, relabelled, on disk (Le et al., ECCV 2012; Lin et al., CVPR 2019): label maps and 68 landmarks."""

from dataclasses import replace

import numpy as np

from datasets.base import (
    FaceParsingDataset,
    Sample,
    data_error,
    group_means,
    read_lines,
    read_rgb,
    require_file,
    require_folder,
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

    def find_samples(self) -> list[Sample]:
        folder = self.root / ("train" if self.split == "train" else "test")
        require_folder(folder, f"Helen's {folder.name} split")
        self.points = self.read_all_landmarks()
        samples = []
        names = {path.name.removesuffix(end) for end in (IMAGE, LABEL) for path in folder.glob(f"*{end}")}
        for name in sorted(names):
            image = require_file(folder / f"{name}{IMAGE}", f"the image of {name}{LABEL}")
            label = require_file(folder / f"{name}{LABEL}", f"the label map of {name}{IMAGE}")
            if name not in self.points:
                raise data_error(self.root / LANDMARKS, f"no line for {name}", "one for every image", self.remedy)
            samples.append(Sample(name, image, (label,), self.root / LANDMARKS))
        return samples

    def read_all_landmarks(self) -> dict[str, np.ndarray]:
        """By name, the 68 points (68, 2) in pixels of the image, from lines of 136 numbers and a name."""
        path = self.root / LANDMARKS
        points = {}
        for number, words in enumerate(read_lines(path, "the landmarks of Helen"), start=1):
            *coordinates, name = words
            if len(coordinates) != 2 * NUM_POINTS:
                found = f"line {number} ({name}) has {len(coordinates)} numbers"
                raise data_error(path, found, f"{2 * NUM_POINTS} numbers and a name", self.remedy)
            points[name] = to_points(coordinates, path, number, self.remedy) / LANDMARK_SCALE
        return points

    def read(self, sample: Sample) -> Face:
        image = read_rgb(sample.image)
        points = self.points[sample.name]
        face = Face(image, self.read_label(sample.labels[0], image.size), points)
        box = face_box(points, image.size)
        if box[0] >= box[2] or box[1] >= box[3]:
            found = f"the landmarks of {sample.name} lie outside its image of {image.width} x {image.height}"
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
