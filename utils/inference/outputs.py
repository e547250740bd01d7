"""What is written of a parsed picture, each kind in a folder of its own."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from network.writing import replacing
from utils.inference.sources import Source
from utils.parser import Parsing

MOST_OF_JPEG = 65500  # pixels of a side
JPEG = {"format": "JPEG", "quality": 92, "subsampling": 0}


@dataclass(frozen=True)
class Outputs:
    """Files in ``folder``: label maps and overlays, and if wished masks of ``classes``, JSON, probabilities.

    A file that is there is left as it is, but for ``overwrite``. All are written whole or not at all.
    """

    folder: Path
    classes: tuple[str, ...] = ()
    json: bool = False
    probs: bool = False
    overwrite: bool = False

    def writers(self) -> dict[str, Callable[[BinaryIO, Parsing, Source], None]]:
        """How each kind of file is written, by its place with ``{}`` for the name."""
        kinds = {"labels/{}.png": write_labels, "overlays/{}.jpg": write_overlay}
        kinds |= {f"masks/{name}/{{}}.png": mask_writer(name) for name in self.classes}
        kinds |= {"json/{}.json": write_statistics} if self.json else {}
        return kinds | ({"probs/{}.npz": write_probabilities} if self.probs else {})

    def folders(self, name: str) -> list[Path]:
        """The folders of a video's frames."""
        return [path.parent for path in self.paths(f"{name}/000000")]

    def paths(self, name: str) -> list[Path]:
        """The files of a picture."""
        return [self.folder / place.replace("{}", name) for place in self.writers()]

    def write(self, parsing: Parsing, source: Source, name: str | None = None) -> None:
        """Write what is not there. Raises OSError where it cannot be written."""
        for place, write in self.writers().items():
            path = self.folder / place.replace("{}", name or source.name)
            if self.overwrite or not path.exists():
                with replacing(path) as file:
                    write(file, parsing, source)


def write_labels(file: BinaryIO, parsing: Parsing, source: Source) -> None:
    parsing.indexed().save(file, "PNG")


def write_overlay(file: BinaryIO, parsing: Parsing, source: Source) -> None:
    picture = Image.fromarray(parsing.overlay(legend=True))
    picture.thumbnail((MOST_OF_JPEG, MOST_OF_JPEG))  # which leaves a smaller one as it is
    picture.save(file, **JPEG)


def mask_writer(name: str) -> Callable[[BinaryIO, Parsing, Source], None]:
    def write(file: BinaryIO, parsing: Parsing, source: Source) -> None:
        Image.fromarray(parsing.mask(name).astype(np.uint8) * 255).save(file, "PNG")

    return write


def write_statistics(file: BinaryIO, parsing: Parsing, source: Source) -> None:
    height, width = parsing.labels.shape
    content: dict[str, Any] = {
        "picture": str(source.path),
        "width": width,
        "height": height,
        "faces": None if parsing.faces is None else [describe(face) for face in parsing.faces],
        "classes": parsing.statistics(),
    }
    file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def describe(face: Any) -> dict[str, Any]:
    """A face for JSON."""
    return {
        "box": face.box and [round(value, 1) for value in face.box],
        "score": face.score and round(face.score, 4),
        "landmarks": np.float64(face.landmarks).round(2).tolist(),
    }


def write_probabilities(file: BinaryIO, parsing: Parsing, source: Source) -> None:
    np.savez_compressed(file, probabilities=parsing.probabilities(), names=np.array(parsing.names))
