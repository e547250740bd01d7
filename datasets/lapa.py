"""LaPa on disk (Liu et al., AAAI 2020): images, label maps and 106 landmarks."""

import numpy as np

from datasets.base import (
    FaceParsingDataset,
    Sample,
    data_error,
    group_means,
    read_lines,
    require_folder,
    to_points,
)
from datasets.labels import LABELS
from datasets.transforms import AffineRange

PARTS = {"images": ".jpg", "labels": ".png", "landmarks": ".txt"}
NUM_POINTS = 106
# Left eye, right eye, nose tip, mouth corners (image left first): means of these of the 106 points.
FIVE_OF_106 = ((74, 104), (83, 105), (54,), (84,), (90,))


class LaPa(FaceParsingDataset):
    """LaPa: 11 classes, five landmarks; training images are rotated, scaled and shifted about their centre."""

    labels = LABELS["lapa"]
    augmentation = AffineRange(degrees=(-30, 30), scale=(0.5, 3), shift=(-20, 20))

    def find_samples(self) -> list[Sample]:
        folder = self.root / self.split
        require_folder(folder, f"LaPa's {self.split} split")
        if not self.has_all(folders={folder / part: f"the {part} of LaPa's {self.split} split" for part in PARTS}):
            return []
        listed = {
            part: {path.stem for path in (folder / part).iterdir() if path.suffix == suffix}
            for part, suffix in PARTS.items()
        }
        samples = []
        for stem in sorted(set.union(*listed.values())):
            paths = {part: folder / part / f"{stem}{suffix}" for part, suffix in PARTS.items()}
            for part, path in paths.items():
                if stem not in listed[part]:
                    others = " and ".join(other for other in PARTS if stem in listed[other])
                    expected = f"one, as {stem} is among the {others}"
                    self.complain(data_error(path, "no such file", expected, self.remedy))
            whole = all(stem in stems for stems in listed.values())
            name = f"{self.split}.{stem}"
            samples.append(Sample(name, paths["images"], (paths["labels"],), paths["landmarks"], whole))
        return samples

    def read_landmarks(self, sample: Sample) -> np.ndarray:
        """Five landmarks (5, 2) in pixels of the image, from a file of ``106`` and then 106 lines ``x y``."""
        lines = read_lines(sample.landmarks, "a landmark file")
        expected = f"{NUM_POINTS}, then {NUM_POINTS} lines 'x y'"
        if not lines or lines[0] != [str(NUM_POINTS)] or len(lines) != NUM_POINTS + 1:
            found = f"{max(0, len(lines) - 1)} points under {' '.join(lines[0])!r}" if lines else "an empty file"
            raise data_error(sample.landmarks, found, expected, self.remedy)
        points = []
        for number, words in enumerate(lines[1:], start=2):
            if len(words) != 2:
                raise data_error(sample.landmarks, f"line {number} is {' '.join(words)!r}", expected, self.remedy)
            points.append(to_points(words, sample.landmarks, number, self.remedy))
        five = group_means(np.concatenate(points), FIVE_OF_106)
        if (five == five[0]).all():
            raise data_error(sample.landmarks, f"all points at {five[0].tolist()}", "points of a face", self.remedy)
        return five
