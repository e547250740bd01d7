"""The canvas: antialiased shapes painted over one another, and which part of a face each pixel shows."""

import cv2
import numpy as np

from datasets.labels import LABELS

PARTS = LABELS["celebamask_hq"].names  # in the order in which their masks are painted over one another
SHIFT = 8  # fractional bits of OpenCV's fixed-point coordinates


class Shape:
    """Coverage, float32 (h, w) in [0, 1], of the pixels in a window (y0, y1, x0, x1) of the canvas."""

    def __init__(self, window: tuple[int, int, int, int], coverage: np.ndarray) -> None:
        self.window = window
        self.coverage = coverage

    @property
    def slices(self) -> tuple[slice, slice]:
        y0, y1, x0, x1 = self.window
        return slice(y0, y1), slice(x0, x1)

    def times(self, factor: np.ndarray | float) -> "Shape":
        """The shape with its coverage multiplied, by a number or by a map (S, S) of the whole canvas."""
        return Shape(self.window, self.coverage * (factor[self.slices] if np.ndim(factor) else factor))


class Canvas:
    """A square picture in the making.

    ``image`` is float32 (S, S, 3) RGB in [0, 1]. ``parts`` is uint32 (S, S): bit k says that the pixel is in the mask
    of class k of CelebAMask-HQ. As there, masks may overlap; the highest bit is the class that is seen.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = np.zeros((size, size, 3), np.float32)
        self.parts = np.zeros((size, size), np.uint32)
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        self.x, self.y = columns, rows

    def polygon(self, *outlines: np.ndarray, blur: float = 0) -> Shape:
        """Outlines (N, 2), in pixels, filled together; ``blur`` is the deviation of a Gaussian in pixels."""
        margin = 2 + 3 * blur
        low = np.min([points.min(0) for points in outlines], 0) - margin
        high = np.max([points.max(0) for points in outlines], 0) + margin
        x0, y0 = np.clip(np.floor(low), 0, self.size).astype(int)
        x1, y1 = np.clip(np.ceil(high), 0, self.size).astype(int)
        filled = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), np.uint8)
        if filled.size:
            for points in outlines:
                # OpenCV's pixel centres are whole numbers, ours lie half a pixel further.
                fixed = np.round((points - (x0 + 0.5, y0 + 0.5)) * 2**SHIFT).astype(np.int32)
                cv2.fillPoly(filled, [fixed], 255, cv2.LINE_AA, SHIFT)
        coverage = filled.astype(np.float32) / 255
        if blur and filled.size:
            coverage = cv2.GaussianBlur(coverage, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
        return Shape((y0, y1, x0, x1), coverage)

    def paint(self, shape: Shape, colour: np.ndarray, part: str | None = None) -> None:
        """Paint a colour, RGB (3,) or a whole canvas of them (S, S, 3).

        The pixels more than half covered become ``part``; without one it is paint on what is already there.
        """
        if not shape.coverage.size:
            return
        target = self.image[shape.slices]
        paint = colour[shape.slices] if colour.ndim == 3 else colour
        target += shape.coverage[..., None] * (paint - target)
        if part is not None:
            self.mark(shape, part)

    def mark(self, shape: Shape, part: str) -> None:
        """Let the pixels more than half covered show ``part``, whatever they showed before.

        Only the masks that would be painted over ``part`` lose these pixels; those under it run on beneath it, as the
        skin does under an eye.
        """
        bit = np.uint32(1 << PARTS.index(part))
        bits = self.parts[shape.slices]
        covered = shape.coverage > 0.5
        bits[covered] = (bits[covered] & (bit - np.uint32(1))) | bit

    def shade(self, shape: Shape, amount: float) -> None:
        """Darken (``amount`` below 0) or lighten what is there: times 1 + amount x coverage."""
        self.image[shape.slices] *= 1 + amount * shape.coverage[..., None]

    def mask(self, part: str) -> np.ndarray:
        """The mask of a part, bool (S, S)."""
        return (self.parts >> np.uint32(PARTS.index(part))) & np.uint32(1) > 0


def smooth(points: list | np.ndarray, count: int = 8, closed: bool = False) -> np.ndarray:
    """A Catmull-Rom curve through points (N, D), with ``count`` points for each piece."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, after = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, count, endpoint=False)[None, :, None]
    curve = start + 0.5 * t * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    curve = curve.reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def mirrored(right: list | np.ndarray) -> np.ndarray:
    """Points (2 N, 2) from left to right: the mirror image of ``right``, then ``right`` itself.

    A first point on the axis is not doubled.
    """
    right = np.asarray(right, np.float64)
    left = right[::-1] * (-1, 1)
    return np.concatenate([left[:-1] if right[0, 0] == 0 else left, right])


def ribbon(curve: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline of a stroke along a curve (N, 2); ``width`` in the curve's unit, one or one for each point."""
    along = np.gradient(curve, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    half = normal * np.broadcast_to(width, len(curve))[:, None] / 2
    return np.concatenate([curve + half, (curve - half)[::-1]])


def ellipse(centre: np.ndarray, radius: float | tuple[float, float], count: int = 32) -> np.ndarray:
    """The outline (count, 2) of an ellipse."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(centre) + np.stack([np.cos(angles), np.sin(angles)], -1) * radius


def smooth_noise(generator: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Noise (size, size) in [-1, 1], smooth between ``cells`` (rows, columns) of random values."""
    coarse = generator.uniform(-1, 1, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
