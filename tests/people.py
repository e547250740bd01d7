"""The drawn faces that tests look at."""

from dataclasses import replace

import numpy as np

from datasets.drawing import draw_face
from datasets.drawing.canvas import PARTS
from datasets.drawing.layouts import Drawing

SIZE = 96
CODES = {"train": 0, "val": 1, "test": 2}


def generator(split, number):
    return np.random.default_rng((0, CODES[split], number))


def faces(count, size=SIZE):
    return (draw_face(generator("train", number), size) for number in range(count))


def shows(face, part):
    """Where a part is the one that is seen, bool (S, S)."""
    index = PARTS.index(part)
    return (face.parts >> index) == 1


def drawing(layout="celebamask_hq", **changes):
    return replace(Drawing(layout, train=6, val=3, test=4, size=SIZE, seed=0), **changes)


def files_of(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
