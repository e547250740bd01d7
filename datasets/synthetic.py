"""Draw faces and write them as one of the three datasets lies on disk, so that its own reader reads them.

python -m datasets.synthetic --layout celebamask_hq --out data/CelebAMask-HQ --train 200 --val 40 --test 40 --size 256
python -m datasets.synthetic --layout lapa --out data/LaPa --seed 1

A picture depends on the seed, its split and its number alone: it is the same whatever the counts and the layout. The
same command goes on where it was stopped.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets import DATASETS, LABELS
from datasets.base import DataError
from datasets.celebamask_hq import IMAGES, IMAGES_PER_FOLDER, MAPPING, MASKS, PARTITION, SPLIT_CODES
from datasets.drawing import DrawnFace, draw_face
from datasets.drawing.canvas import PARTS
from datasets.drawing.landmarks import landmarks_68, landmarks_106
from datasets.helen import IMAGE, LABEL, LANDMARK_SCALE, LANDMARKS
from datasets.labels import canonical_name

SETTINGS, UNFINISHED, WAITING = "synthetic.json", "unfinished", "waiting"
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
        for split in DATASETS[self.layout].splits:
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
    name = f"{split}_{number:06d}"
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
        names = [f"{split}_{number:06d}" for split, number in drawing.pictures()]
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


def in_worker() -> None:
    """One thread a process; Ctrl-C is the parent's business."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_dataset(drawing: Drawing, out: Path, workers: int = 1) -> bool:
    """Draw a dataset into the folder ``out``, with a progress bar; False if it was there already.

    It grows in ``out/unfinished``, so that a reader meets all of it or nothing. Raises DataError if ``out`` holds
    something else.
    """
    settings = json.dumps(asdict(drawing), indent=2) + "\n"
    root = out / UNFINISHED
    if out.exists():
        check_folder(out, settings)
        if (out / SETTINGS).is_file() and not root.exists():
            return False
    root.mkdir(parents=True, exist_ok=True)
    (out / SETTINGS).write_text(settings)

    pictures = list(drawing.pictures())
    job = partial(write_picture, root, drawing)
    title = f"drawing {LABELS[drawing.layout].title}"
    with tqdm(total=len(pictures), desc=title, unit="img", dynamic_ncols=True) as bar:
        if workers == 1:
            for picture in pictures:
                job(picture)
                bar.update()
        else:
            with multiprocessing.Pool(workers, in_worker) as pool:
                for _ in pool.imap_unordered(job, pictures, chunksize=4):
                    bar.update()
    finish(root, drawing)
    for path in root.iterdir():
        path.replace(out / path.name)
    root.rmdir()
    return True


def check_folder(folder: Path, settings: str) -> None:
    """Raise DataError unless a folder is empty, or holds exactly this drawing or the beginning of it."""
    remedy = "Choose another folder, or remove this one"
    if not folder.is_dir():
        raise DataError(f"{folder}: found a file; expected a folder, empty or new.")
    file = folder / SETTINGS
    if any(folder.iterdir()) and not file.is_file():
        raise DataError(f"{folder}: found a folder that was not drawn here; expected an empty or a new one. {remedy}.")
    if file.is_file() and file.read_text() != settings:
        found = " ".join(file.read_text().split())
        raise DataError(f"{folder}: found faces drawn with other settings, {found}. {remedy}, or draw with those.")


def command_line() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--layout", type=layout, default="celebamask_hq", help=f"{', '.join(WRITERS)} (default: celebamask_hq)")
    add("--out", type=Path, required=True, help="folder of the dataset, which must be new or empty")
    add("--train", type=count, default=200, help="training pictures (200)")
    add("--val", type=count, default=40, help="validation pictures (40); none for helen, which validates on test")
    add("--test", type=count, default=40, help="test pictures (40)")
    add("--size", type=side, default=256, help="side of the pictures in pixels, even, at least 32 (256)")
    add("--seed", type=count, default=0, help="seed of everything (0)")
    add("--workers", type=count, default=os.cpu_count(), help="processes (default: one for each core)")
    return parser


def layout(text: str) -> str:
    """A dataset's name."""
    try:
        return canonical_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def side(text: str) -> int:
    """The side of a picture; CelebAMask-HQ's masks have half of it."""
    if count(text) < 32 or count(text) % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number from 32 on")
    return int(text)


def main() -> None:
    args = command_line().parse_args()
    drawing = Drawing(args.layout, args.train, args.val, args.test, args.size, args.seed)
    try:
        if not list(drawing.pictures()):
            raise DataError("no picture to draw; ask for some with --train, --val or --test")
        new = write_dataset(drawing, args.out, max(args.workers, 1))
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    except (DataError, OSError) as error:
        sys.exit(f"\nerror: {error}")
    print(f"{args.out}: {'drawn' if new else 'is there already, drawn with the same settings'}")


if __name__ == "__main__":
    main()
