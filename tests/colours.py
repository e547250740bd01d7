"""A model that needs no training: it tells the class of a pixel by its colour.

Eight classes have the corners of the RGB cube, so that what lies between two of them is never like a third.
"""

import numpy as np

from datasets import LABELS

SEEN = {
    "celebamask_hq": ("background", "hair", "skin", "r_eye", "l_eye", "nose", "u_lip", "l_lip"),
    "lapa": ("background", "hair", "face_lr_rr", "le", "re", "nose", "ul", "ll"),
}
CORNERS = np.array([(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)


class ColourModel:
    """See utils/inference/models.py. It remembers the landmarks that it was given."""

    gives_logits = True
    description = "a model of colours"

    def __init__(self, dataset="celebamask_hq", resolution=128, wants_landmarks=False):
        self.labels = LABELS[dataset]
        self.resolution = resolution
        self.wants_landmarks = wants_landmarks
        self.landmarks = []
        self.batches = []

    def logits(self, images, landmarks):
        assert images.shape[1:] == (self.resolution, self.resolution, 3)
        assert images.dtype == np.uint8
        self.landmarks.append(landmarks)
        self.batches.append(len(images))
        distance = ((np.float32(images)[:, None] - np.float32(CORNERS)[:, None, None]) ** 2).sum(-1)  # (B, 8, R, R)
        logits = np.full((len(images), self.labels.num_classes, *images.shape[1:3]), -1e3, np.float32)
        logits[:, seen(self.labels)] = -distance / 1000
        return logits


def seen(labels):
    """The values of the eight classes that have a colour, in the order of CORNERS."""
    dataset = next(name for name, others in LABELS.items() if others == labels)
    return [labels.names.index(name) for name in SEEN[dataset]]


def face_map(side=128):
    """A label map of CelebAMask-HQ: hair, skin, both eyes, brows, nose and mouth as ellipses, uint8 (side, side)."""
    names = LABELS["celebamask_hq"].names
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    label = np.zeros((side, side), np.uint8)
    for name, cx, cy, rx, ry in (
        ("hair", 0.5, 0.42, 0.4, 0.38), ("skin", 0.5, 0.52, 0.28, 0.36), ("r_eye", 0.38, 0.44, 0.07, 0.04),
        ("l_eye", 0.62, 0.44, 0.07, 0.04), ("nose", 0.5, 0.55, 0.05, 0.09), ("u_lip", 0.5, 0.7, 0.1, 0.04),
        ("l_lip", 0.5, 0.74, 0.09, 0.03),
    ):  # fmt: skip
        label[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = names.index(name)
    return label


def painted(label, dataset="celebamask_hq"):
    """The picture of a label map that a ColourModel reads."""
    colours = np.zeros((LABELS[dataset].num_classes, 3), np.uint8)
    colours[seen(LABELS[dataset])] = CORNERS
    return colours[label]


def iou(a, b):
    """Mean intersection over union of the classes that are in either map."""
    classes = np.union1d(a, b)
    return np.mean([((a == k) & (b == k)).sum() / ((a == k) | (b == k)).sum() for k in classes])
