"""Aligned crops of faces, and the way back from them to the picture.

The models of CelebAMask-HQ were trained on crops that CelebA-HQ took from five landmarks (Karras et al., Progressive
Growing of GANs, ICLR 2018, appendix C; the same formula in code: ``recreate_aligned_images`` of FFHQ's
download_ffhq.py). With e the line from the left to the right eye of the picture, and m the one from the middle of the
eyes to that of the mouth,

    direction  x = e - (m turned by +90 degrees), which is level with the face, as m points down
    half side  h = max(2.0 |e|, 1.8 |m|)
    centre     c = middle of the eyes + 0.1 m

and the square has its centre at c, half its side along x / |x| * h. What of it lies outside the picture is mirrored.

Points are x, y in pixels, with the left upper corner of the picture at 0, 0 and the centre of its first pixel at
0.5, 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.inference.label_maps import Plane, best_class, enlarged, softmax
from utils.inference.pictures import squash

# The canonical five landmarks as fractions of the side; see network/warp.py.
CANONICAL = np.float32([(196, 226), (316, 226), (256, 286), (220, 360.4), (292, 360.4)]) / 512
NO_FACE = -1
FARTHEST = 10  # sides of the picture that a crop may be wide or away
BACKGROUND = 0


@dataclass(frozen=True)
class Face:
    """A face in a picture: five landmarks (5, 2), eyes, nose tip and mouth corners, image left first.

    ``box`` is left, top, width, height, and ``score`` the detector's, from 0 to 1.
    """

    landmarks: np.ndarray
    box: tuple[float, float, float, float] | None = None
    score: float | None = None


@dataclass(frozen=True)
class Crop:
    """What a model is to look at: uint8 (R, R, 3) RGB, landmarks float32 (5, 2) in pixels of it.

    ``to_picture`` is the (2, 3) matrix from points of the crop to points of the picture, None where the crop is the
    whole picture squashed to a square.
    """

    image: np.ndarray
    landmarks: np.ndarray
    to_picture: np.ndarray | None = None


def whole(rgb: np.ndarray, side: int, landmarks: np.ndarray | None = None) -> Crop:
    """The whole picture; its landmarks (5, 2) in pixels of the picture are the canonical ones if none are given."""
    points = CANONICAL if landmarks is None else np.float32(landmarks) / np.float32(rgb.shape[1::-1])
    return Crop(squash(rgb, side), np.float32(points * side))


def aligned(rgb: np.ndarray, landmarks: np.ndarray, side: int) -> Crop:
    """The crop of CelebA-HQ of a face with these landmarks (5, 2). Raises ValueError where there can be no face."""
    square = aligned_square(landmarks)
    if np.abs(square).max() > FARTHEST * max(rgb.shape[:2]):
        raise ValueError(
            f"landmarks {np.float64(landmarks).round(1).tolist()} are of a face far beyond the picture, which has "
            f"{rgb.shape[1]} x {rgb.shape[0]} pixels; expected them in its pixels"
        )
    to_picture = square @ np.diag([1 / side, 1 / side, 1])
    linear, shift = to_picture[:, :2], to_picture[:, 2]
    points = (np.float64(landmarks) - shift) @ np.linalg.inv(linear).T
    return Crop(cut_out(rgb, to_picture, side), np.float32(points), to_picture)


def aligned_square(landmarks: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix from a unit square to the crop of CelebA-HQ, by the formula above."""
    left_eye, right_eye, _, left_mouth, right_mouth = np.float64(landmarks)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes
    x = across + np.array([down[1], -down[0]])
    half = max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    if not np.isfinite(landmarks).all() or not half or not np.hypot(*x):
        raise ValueError(
            f"landmarks {np.float64(landmarks).round(1).tolist()} are not those of a face; expected left eye, right "
            "eye, nose tip and the two mouth corners, image left first"
        )
    x *= half / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return np.column_stack([2 * x, 2 * y, centre - x - y])


def cut_out(rgb: np.ndarray, to_picture: np.ndarray, side: int) -> np.ndarray:
    """The square of ``side`` pixels at ``to_picture``, uint8 (side, side, 3), antialiased."""
    top, bottom, left, right = reach(to_picture, side, rgb.shape[:2])
    part = rgb[top:bottom, left:right]
    coarser = max(1, int(np.hypot(*to_picture[:, 0]) / 2))  # what is left has two or three pixels in one of the crop
    extent = tuple(max(1, round(length / coarser)) for length in part.shape[1::-1])
    scale = np.diag(np.array(extent) / part.shape[1::-1])
    shifted = scale @ (to_picture - [[0, 0, left], [0, 0, top]])
    finer = max(1, int(np.ceil(np.hypot(*shifted[:, 0]))))
    fine = cv2.warpAffine(
        part if coarser == 1 else cv2.resize(part, extent, interpolation=cv2.INTER_AREA),
        of_indices(shifted @ np.diag([1 / finer, 1 / finer, 1])),
        (finer * side, finer * side),
        flags=(cv2.INTER_CUBIC if finer == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return fine if finer == 1 else cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def reach(to_picture: np.ndarray, side: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the part of a picture (H, W) that a square needs, its mirror images included."""
    corners = to_picture @ np.array([[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]])
    low, high = np.floor(corners.min(1)) - 2, np.ceil(corners.max(1)) + 2
    ends = []
    for first, last, length in zip(low[::-1], high[::-1], size, strict=True):
        if first < 0:  # the mirror at the border shows what lies as far inside
            last = max(last, -first)
        if last > length:
            first = min(first, 2 * length - last)
        ends += [int(np.clip(first, 0, length - 1)), int(np.clip(last, 1, length))]
    return tuple(ends)


def of_indices(matrix: np.ndarray) -> np.ndarray:
    """The same map between indices of pixels, whose centres lie half a pixel further."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (0.5, 0.5) - 0.5])


def compose(size: tuple[int, int], crops: Sequence[Crop], logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label map of a picture (H, W) from logits (N, K, R, R) of its crops.

    A pixel gets its class from the crop to whose centre it is nearest, in sides of the crop, and where that says
    background from the next one that does not. So no face erases another one's features, whatever their order.
    Returns uint8 (H, W), and the number of the crop that decided, int16 (H, W), NO_FACE where none reaches.
    """
    labels = np.full(size, BACKGROUND, np.uint8)
    owner, of_background = np.full(size, NO_FACE, np.int16), np.full(size, NO_FACE, np.int16)
    nearest, nearest_of_all = np.full(size, np.inf, np.float32), np.full(size, np.inf, np.float32)
    for number, (crop, of_crop) in enumerate(zip(crops, logits, strict=True)):
        if crop.to_picture is None:
            return best_class(enlarged(of_crop, size), len(of_crop)), np.broadcast_to(np.int16(number), size)
        where, inside, distance = area(crop, size)
        if not inside.any():
            continue
        found = best_class(mapped_back(crop, of_crop, size), len(of_crop))
        nearer = inside & (distance < nearest_of_all[where])
        np.copyto(nearest_of_all[where], distance, where=nearer)
        np.copyto(of_background[where], number, where=nearer)
        better = inside & (found != BACKGROUND) & (distance < nearest[where])
        np.copyto(nearest[where], distance, where=better)
        np.copyto(labels[where], found, where=better)
        np.copyto(owner[where], number, where=better)
    return labels, np.where(owner == NO_FACE, of_background, owner)


def probabilities(
    size: tuple[int, int], crops: Sequence[Crop], logits: np.ndarray, owner: np.ndarray, num_classes: int
) -> np.ndarray:
    """Softmax of what decided on each pixel, float16 (K, H, W); where no crop reaches, background is certain."""
    result = np.zeros((num_classes, *size), np.float16)
    result[BACKGROUND, owner == NO_FACE] = 1
    for number, (crop, of_crop) in enumerate(zip(crops, logits, strict=True)):
        if crop.to_picture is None:
            where, plane = (slice(None), slice(None)), enlarged(of_crop, size)
        else:
            where, plane = area(crop, size)[0], mapped_back(crop, of_crop, size)
        decided = owner[where] == number
        for k, probability in enumerate(softmax(plane, num_classes) if decided.any() else ()):
            np.copyto(result[k][where], probability, casting="same_kind", where=decided)
    return result


def area(crop: Crop, size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The rectangle of a picture (H, W) that an aligned crop touches.

    And of its pixels, which lie in the crop (bool), and how far they are from its centre (float32, in its sides).
    """
    where = rectangle(crop, size)
    rows, columns = (np.arange(s.start, s.stop, dtype=np.float32) + np.float32(0.5) for s in where)
    inverse = np.float32(from_picture(crop) / len(crop.image))
    u = inverse[0, 0] * columns + (inverse[0, 1] * rows + inverse[0, 2])[:, None]
    v = inverse[1, 0] * columns + (inverse[1, 1] * rows + inverse[1, 2])[:, None]
    inside = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
    return where, inside, np.hypot(u - np.float32(0.5), v - np.float32(0.5))


def mapped_back(crop: Crop, logits: np.ndarray, size: tuple[int, int]) -> Plane:
    """Planes of logits (K, R, R) of an aligned crop in its rectangle of the picture (H, W)."""
    rows, columns = rectangle(crop, size)
    to_logits = from_picture(crop) @ np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1]])
    extent = (columns.stop - columns.start, rows.stop - rows.start)
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    return lambda k: cv2.warpAffine(logits[k], of_indices(to_logits), extent, **how)


def rectangle(crop: Crop, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a picture (H, W) around an aligned crop; empty where it lies outside."""
    side = len(crop.image)
    corners = crop.to_picture @ np.array([[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]])
    ends = (np.floor(corners.min(1)), np.ceil(corners.max(1)))
    left, top, right, bottom = (int(v) for pair in ends for v in np.clip(pair, 0, size[::-1]))
    return slice(top, bottom), slice(left, right)


def from_picture(crop: Crop) -> np.ndarray:
    """The (2, 3) matrix from points of the picture to points of an aligned crop."""
    inverse = np.linalg.inv(crop.to_picture[:, :2])
    return np.column_stack([inverse, -inverse @ crop.to_picture[:, 2]])
