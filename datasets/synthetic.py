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
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from datasets import LABELS
from datasets.arguments import count, dataset_name
from datasets.drawing.layouts import WRITERS, Drawing, finish, write_picture
from datasets.errors import DataError

SETTINGS, UNFINISHED, DRAWN = "synthetic.json", "unfinished", "drawn"
VERSION = 1  # of the drawing: to be raised when the same seed gives another picture
LARGEST = 4096


def in_worker() -> None:
    """One thread a process; Ctrl-C is the parent's business."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_dataset(drawing: Drawing, out: Path, workers: int = 1) -> bool:
    """Draw a dataset into the folder ``out``, with a progress bar; False if it was there already.

    It grows in ``out/unfinished``, which is renamed to ``out/drawn`` when it is whole and then moved to its place, so
    that a reader never takes a part for the whole and a killed run can go on. Raises DataError if ``out`` holds
    something else, or if a process dies.
    """
    unfinished, drawn = out / UNFINISHED, out / DRAWN
    settings = json.dumps(asdict(drawing) | {"version": VERSION}, indent=2) + "\n"
    if out.exists():
        check_folder(out, settings)
        if {path.name for path in contents(out)} - {SETTINGS, UNFINISHED, DRAWN} and not drawn.exists():
            return False
    out.mkdir(parents=True, exist_ok=True)
    hidden = out / f".{SETTINGS}"
    hidden.write_text(settings)
    hidden.replace(out / SETTINGS)

    if not drawn.exists():
        unfinished.mkdir(exist_ok=True)
        draw_pictures(drawing, unfinished, workers)
        finish(unfinished, drawing)
        unfinished.replace(drawn)
    for path in drawn.iterdir():
        if (out / path.name).exists():
            raise DataError(f"{out / path.name} is in the way of what was drawn. Move it elsewhere, and start again.")
        path.replace(out / path.name)
    drawn.rmdir()
    return True


def draw_pictures(drawing: Drawing, root: Path, workers: int) -> None:
    """Draw all pictures that are not there yet."""
    pictures = list(drawing.pictures())
    job = partial(write_picture, root, drawing)
    title = f"drawing {LABELS[drawing.layout].title}"
    with tqdm(total=len(pictures), desc=title, unit="img", dynamic_ncols=True) as bar:
        if workers == 1:
            for picture in pictures:
                job(picture)
                bar.update()
            return
        # Not forked: a fork in the middle of OpenCV's threads can hang.
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(workers, context, in_worker) as pool:
                for _ in pool.map(job, pictures, chunksize=4):
                    bar.update()
        except BrokenProcessPool as error:
            remedy = "The same command goes on from there; --workers 1 needs the least memory."
            raise DataError(f"a process that drew was killed, perhaps for want of memory. {remedy}") from error


def contents(folder: Path) -> list[Path]:
    """What is in a folder, without hidden files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def check_folder(folder: Path, settings: str) -> None:
    """Raise DataError unless a folder is empty, or holds exactly this drawing or the beginning of it."""
    if not folder.is_dir():
        raise DataError(f"{folder}: found a file; expected a folder, empty or new. Choose another one.")
    remedy = "Choose another folder, or remove this one"
    found = contents(folder)
    file = folder / SETTINGS
    if not found:
        return
    if not file.is_file():
        raise DataError(f"{folder}: found {found[0].name}, which was not drawn here. {remedy}.")
    try:
        old = file.read_text()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: found no text ({error}). {remedy}.") from error
    if old != settings:
        raise DataError(
            f"{folder}: found faces drawn with other settings, {' '.join(old.split())}. {remedy}, or draw with those."
        )
    others = [path.name for path in found if path.name not in (SETTINGS, UNFINISHED)]
    if (folder / UNFINISHED).exists() and others:
        raise DataError(f"{folder}: found {others[0]} beside a drawing that is not finished. Move it elsewhere.")


def command_line() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--layout", type=dataset_name, default="celebamask_hq", help=f"{', '.join(WRITERS)} (default: celebamask_hq)")
    add("--out", type=Path, required=True, help="folder of the dataset, which must be new or empty")
    add("--train", type=count, default=200, help="training pictures (200)")
    add("--val", type=count, default=40, help="validation pictures (40); none for helen, which validates on test")
    add("--test", type=count, default=40, help="test pictures (40)")
    add("--size", type=side, default=256, help=f"side of the pictures in pixels, even, 32 to {LARGEST} (256)")
    add("--seed", type=count, default=0, help="seed of everything (0)")
    add("--workers", type=count, default=os.cpu_count(), help="processes (default: one for each core)")
    return parser


def side(text: str) -> int:
    """The side of a picture; CelebAMask-HQ's masks have half of it."""
    if not 32 <= count(text) <= LARGEST or count(text) % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number from 32 to {LARGEST}")
    return int(text)


def main() -> None:
    args = command_line().parse_args()
    val = 0 if args.layout == "helen" else args.val
    drawing = Drawing(args.layout, args.train, val, args.test, args.size, args.seed)
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
