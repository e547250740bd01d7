"""Drawn faces written as the three datasets lie on disk."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.celebamask_hq import IMAGES, IMAGES_PER_FOLDER, MAPPING, MASKS, PARTITION, SPLIT_CODES
from datasets.drawing.canvas import PARTS
from datasets.drawing.landmarks import landmarks_68, landmarks_106
from datasets.drawing.scene import DrawnFace, draw_face
from datasets.helen import IMAGE, LABEL, LANDMARK_SCALE, LANDMARKS

WAITING = "waiting"  # a folder for what is to be moved or gathered
# What each part is in the datasets of eleven classes, where left is the image's left. Ears belong to the face, a hat
# hides what is under it, and glasses and jewellery are looked through.
ELEVEN = {
    "skin": 1, "l_ear": 1, "r_ear": 1, "r_brow": 2, "l_brow": 3, "r_eye": 4, "l_eye": 5, "nose": 6, "u_lip": 7,
    "mouth": 8, "l_lip": 9, "hair": 10, "neck": 0, "cloth": 0, "hat": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """What is drawn: a ``layout`` (a key of LABELS), numbers of pictures, their side in pixels, and the seed."""

    layout: str
    train: int
    val: int
    test: int
    size: int
    seed: int

    def pictures(self) -> Iterator[tuple[str, int]]:
        """Split and number of every picture. Helen has no validation split of its own."""
        for split in SPLIT_CODES:
            if not (self.layout == "helen" and split == "val"):
                yield from ((split, number) for number in range(getattr(self, split)))

    def face(self, split: str, number: int) -> DrawnFace:
        """The picture of that number."""
        return draw_face(np.random.default_rng((self.seed, int(SPLIT_CODES[split]), number)), self.size)


def paint_label(parts: np.ndarray, values: dict[str, int]) -> np.ndarray:
    """A label map, uint8 (S, S), of part masks (see Canvas) painted in their order, those without a value left out."""
    label = np.zeros(parts.shape, np.uint8)
    for index, part in enumerate(PARTS):
        if part in values:
            label[(parts >> np.uint32(index)) & np.uint32(1) > 0] = values[part]
    return label


def hq_index(split: str, number: int) -> int:
    """The index of a picture in CelebAMask-HQ, chosen so that no count moves a picture to another name."""
    return 3 * number + int(SPLIT_CODES[split])


def helen_name(split: str, number: int) -> str:
    """The name of a picture in Helen, without its suffix."""
    return f"{split}_{number:06d}"


def write_celebamask_hq(root: Path, drawing: Drawing, split: str, number: int) -> None:
    """The image, and a mask of half its side for each part in it."""
    index = hq_index(split, number)
    image = root / IMAGES / f"{index}.jpg"
    if image.exists():
        return
    face = drawing.face(split, number)
    folder = root / MASKS / str(index // IMAGES_PER_FOLDER)
    halved = face.parts[1::2, 1::2]  # the pixels that Pillow's nearest takes
    for bit, part in enumerate(PARTS[1:], start=1):
        mask = (halved >> np.uint32(bit)) & np.uint32(1)
        if mask.any():
            pixels = np.repeat((255 * mask).astype(np.uint8)[..., None], 3, axis=2)  # three equal channels, as theirs
            save_label(pixels, folder / f"{index:05d}_{part}.png")
    save_image(face, image, root)


def write_lapa(root: Path, drawing: Drawing, split: str, number: int) -> None:
    """The image, its label map and its 106 landmarks."""
    name = f"{number:06d}"
    image = root / split / "images" / f"{name}.jpg"
    if image.exists():
        return
    face = drawing.face(split, number)
    save_label(paint_label(face.parts, ELEVEN), root / split / "labels" / f"{name}.png")
    lines = ["106", *(f"{x:.3f} {y:.3f}" for x, y in landmarks_106(face))]
    write_text(root / split / "landmarks" / f"{name}.txt", lines)
    save_image(face, image, root)


def write_helen(root: Path, drawing: Drawing, split: str, number: int) -> None:
    """The image and its label map; its line of landmarks waits in a file of its own for ``finish``."""
    name = helen_name(split, number)
    image = root / split / f"{name}{IMAGE}"
    if image.exists():
        return
    face = drawing.face(split, number)
    save_label(paint_label(face.parts, ELEVEN), root / split / f"{name}{LABEL}")
    numbers = " ".join(f"{value:.3f}" for value in (LANDMARK_SCALE * landmarks_68(face)).flatten())
    write_text(root / WAITING / name, [f"{numbers} {name}"])
    save_image(face, image, root)


WRITERS = {"celebamask_hq": write_celebamask_hq, "lapa": write_lapa, "helen": write_helen}


def finish(root: Path, drawing: Drawing) -> None:
    """Write the files that list all pictures, and tidy up."""
    if drawing.layout == "celebamask_hq":
        mapping, partition = ["idx     orig_idx    orig_file"], []
        for split, number in drawing.pictures():
            index = hq_index(split, number)
            mapping.append(f"{index:<8}{index + 1:<12}{index + 1:06d}.jpg")
            partition.append(f"{index + 1:06d}.jpg {SPLIT_CODES[split]}")
        write_text(root / MAPPING, mapping)
        write_text(root / PARTITION, partition)
    if drawing.layout == "helen" and not (root / LANDMARKS).exists():
        names = [helen_name(*picture) for picture in drawing.pictures()]
        whole = root / WAITING / LANDMARKS
        write_text(whole, [(root / WAITING / name).read_text().strip() for name in names])
        whole.replace(root / LANDMARKS)
    shutil.rmtree(root / WAITING, ignore_errors=True)


def save_label(label: np.ndarray, path: Path) -> None:
    """Save a label map as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label).save(path)


def save_image(face: DrawnFace, path: Path, root: Path) -> None:
    """Save a picture, after all else that belongs to it: where it lies, everything is done."""
    unfinished = root / WAITING / f"{os.getpid()}.jpg"
    for folder in (path.parent, unfinished.parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(face.image).save(unfinished, quality=face.jpeg_quality)
    unfinished.replace(path)


def write_text(path: Path, lines: list[str]) -> None:
    """Write lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_picture(root: Path, drawing: Drawing, picture: tuple[str, int]) -> None:
    """Draw one picture and write all its files, unless they are there."""
    WRITERS[drawing.layout](root, drawing, *picture)
