"""The landmarks of LaPa and Helen, from the curves that were drawn."""

import numpy as np

from datasets.drawing.scene import DrawnFace


def along(curve: np.ndarray, count: int) -> np.ndarray:
    """Points (count, 2) at equal steps along a curve (N, 2), both ends included."""
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, length[-1], count)
    return np.column_stack([np.interp(at, length, curve[:, axis]) for axis in (0, 1)])


def around(upper: np.ndarray, lower: np.ndarray, above: int, below: int) -> np.ndarray:
    """A closed line clockwise from its left corner: corner, ``above`` points, corner, ``below`` points.

    Both curves run from the left corner to the right one.
    """
    return np.concatenate([along(upper, above + 2), along(lower, below + 2)[-2:0:-1]])


def landmarks_106(face: DrawnFace) -> np.ndarray:
    """The 106 points (106, 2) of LaPa (Liu et al., AAAI 2020), in pixels.

    0-32 contour, 33-50 brows, 51-54 ridge of the nose, 55-65 its side, base and other side, 66-73 and 75-82 eyes with
    their centres 74 and 83, 84-95 outer and 96-103 inner mouth, 104 and 105 pupils. Left is the image's left.
    """
    features = face.features
    brows = [np.concatenate([along(upper, 5), along(lower, 5)[:0:-1]]) for upper, lower in features.brows]
    eyes = []
    for eye in features.eyes:
        outline = around(eye.upper, eye.lower, 3, 3)
        eyes += [outline, outline.mean(0, keepdims=True)]
    flanks = [along(np.stack([features.nose_ridge[0], end]), 5)[1:4] for end in features.nose_base[[0, -1]]]
    return np.concatenate(
        [
            along(face.contour, 33),
            *brows,
            along(features.nose_ridge, 4),
            flanks[0],
            along(features.nose_base, 5),
            flanks[1][::-1],
            *eyes,
            around(features.lip_top, features.lip_bottom, 5, 5),
            around(features.mouth_top, features.mouth_bottom, 3, 3),
            *(eye.iris.mean(0, keepdims=True) for eye in features.eyes),
        ]
    )


def landmarks_68(face: DrawnFace) -> np.ndarray:
    """The 68 points (68, 2) of Helen as annotated by iBUG (Sagonas et al., ICCV Workshops 2013), in pixels.

    0-16 contour, 17-26 brows, 27-30 ridge and 31-35 base of the nose, 36-47 eyes, 48-59 outer and 60-67 inner mouth.
    Left is the image's left.
    """
    features = face.features
    return np.concatenate(
        [
            along(face.contour, 17),
            *(along(upper, 5) for upper, _ in features.brows),
            along(features.nose_ridge, 4),
            along(features.nose_base, 5),
            *(around(eye.upper, eye.lower, 2, 2) for eye in features.eyes),
            around(features.lip_top, features.lip_bottom, 5, 5),
            around(features.mouth_top, features.mouth_bottom, 3, 3),
        ]
    )
