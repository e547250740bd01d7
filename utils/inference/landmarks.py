"""Landmarks from a file: five points of a face, or of each face of a picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import SettingsError
from utils.inference.crops import Face
from utils.inference.sources import Source

FORM = (
    'expected {"face.jpg": [[x, y], [x, y], [x, y], [x, y], [x, y]], ...}: left eye, right eye, nose tip and the two '
    "mouth corners, image left first, in pixels; or a list of such lists, one for each face"
)


class LandmarkFile:
    """A JSON file of landmarks by the names or paths of pictures. Raises SettingsError where it is none."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"--landmarks {path} cannot be read ({error}); {FORM}") from error
        if not isinstance(content, dict):
            raise SettingsError(f"--landmarks {path} holds a {type(content).__name__}; {FORM}")
        self.faces = {str(Path(key)): self.to_faces(key, value) for key, value in content.items()}

    def to_faces(self, key: str, value: Any) -> list[Face]:
        try:
            points = np.asarray(value, np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise SettingsError(f"--landmarks {self.path}: {key!r} has no numbers ({error}); {FORM}") from error
        points = points.reshape(0, 5, 2) if points.size == 0 else points
        points = points[None] if points.ndim == 2 else points
        if points.ndim != 3 or points.shape[1:] != (5, 2) or not np.isfinite(points).all():
            raise SettingsError(f"--landmarks {self.path}: {key!r} has the shape {points.shape}; {FORM}")
        return [Face(face) for face in points]

    def of(self, source: Source) -> list[Face]:
        """The faces of a picture, by its path or the end of it. Raises ValueError where the file has none of it."""
        path = source.path
        for start in range(len(path.parts)):
            key = str(Path(*path.parts[start:]))
            if key in self.faces:
                return self.faces[key]
        raise ValueError(f"{path}: found no landmarks of it in {self.path}; add {path.name!r} there")
