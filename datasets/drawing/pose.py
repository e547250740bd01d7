"""Where a head is and how it is turned: from points of the head to pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SKULL_DEPTH = 1.12  # from the ears' plane to the face, in half widths of the head


@dataclass(frozen=True)
class Pose:
    """A weak-perspective view of a head.

    The head's frame has its origin between the eyes and half the width of a head as its unit: x to the image's right,
    y down, z to the viewer. Angles are in radians, ``scale`` is pixels per unit, ``centre`` the origin in pixels.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    centre: tuple[float, float]

    @cached_property
    def rotation(self) -> np.ndarray:
        """The rotation (3, 3) of column vectors: turn, then nod, then tilt."""
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (self.yaw, self.pitch, self.roll))
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return tilt @ nod @ turn

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) of the head."""
        return points @ self.rotation[:2].T * self.scale + self.centre

    def on_face(self, points: np.ndarray | list, lift: float | np.ndarray = 0) -> np.ndarray:
        """Pixels (N, 2) of points (N, 2) on the front of the face, ``lift`` in front of its surface."""
        points = np.asarray(points, np.float64)
        x, y = points[:, 0], points[:, 1]
        surface = 0.95 * np.sqrt(np.clip(1 - 0.85 * x**2 - 0.75 * ((y - 0.1) / 1.75) ** 2, 0.02, 1))
        return self.project(np.column_stack([points, surface + lift]))

    def on_outline(self, points: np.ndarray | list) -> np.ndarray:
        """Pixels (N, 2) of points (N, 2) on the outline of the head as it is seen.

        A skull is about as deep as it is wide, so that the outline keeps its width in a turn; the chin lies in front of
        the axis of the turn and goes with it.
        """
        points = np.asarray(points, np.float64)
        turned = np.hypot(np.cos(self.yaw), SKULL_DEPTH * np.sin(self.yaw)) / np.cos(self.yaw)
        depth = 0.5 * np.clip((points[:, 1] - 0.1) / 1.4, 0, 1) ** 1.2
        return self.project(np.column_stack([points[:, 0] * turned, points[:, 1], depth]))

    def of_body(self) -> "Pose":
        """The view of the neck and shoulders, which follow the head a little."""
        x, y = self.centre
        shift = 0.25 * np.sin(self.yaw) * self.scale
        return Pose(0.15 * self.yaw, 0.0, 0.35 * self.roll, self.scale, (x + shift, y))
