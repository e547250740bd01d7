"""Read a whole dataset on disk and list everything that is wrong with it, file by file.

python -m datasets.check --dataset celebamask_hq
python -m datasets.check --dataset lapa --root /data/LaPa --workers 8

Ends with 0 if nothing is wrong and with 1 otherwise. The folder is by default that of DATA_PATH, from the environment
or from .env, as for train.py.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch.utils.data import ConcatDataset, DataLoader, Dataset
from tqdm import tqdm

from datasets import DATASETS, LABELS, DataError, FaceParsingDataset
from datasets.arguments import count, dataset_name
from datasets.base import Sample, read_rgb
from datasets.labels import dataset_root

T = TypeVar("T")

ENVIRONMENT_FILE = Path(__file__).resolve().parents[1] / ".env"
UNUSED = 1  # the resolution: samples are read and checked, and not resized
IMAGES_AT_ONCE = 8


@dataclass(frozen=True)
class Report:
    """What was found, by split: the number of ``images``, None where a split cannot be read, and the ``problems``.

    A problem is one message. What concerns several splits (a file of all of them) is among the problems of each.
    """

    name: str
    images: dict[str, int | None]
    problems: dict[str, list[str]]

    def lines(self) -> list[str]:
        """Every problem once, in the order of the splits."""
        return list(dict.fromkeys(line for lines in self.problems.values() for line in lines))

    def table(self) -> str:
        """Images, published images and problems of each split, with a remark where the numbers of images differ."""
        labels = LABELS[self.name]
        lines = [f"{labels.title:14}  {'images':>7}  {'published':>9}  {'problems':>8}"]
        for split, published in labels.sizes.items():
            same = DATASETS[self.name].same_splits.get(split)
            if same:
                lines.append(f"{split:14}  as {same}")
                continue
            count = self.images[split]
            remark = "" if count == published or count is None else "  not the published number of images"
            images = "no" if count is None else f"{count:,}"
            lines.append(f"{split:14}  {images:>7}  {published:>9,}  {len(self.problems[split]):>8,}{remark}")
        return "\n".join(lines)


class Findings(Dataset):
    """A split as it is looked at by a worker: ``findings[i]`` is the split and the problems of face i."""

    def __init__(self, dataset: FaceParsingDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[str, list[str]]:
        return self.dataset.split, problems_of(self.dataset, self.dataset.samples[index])


def check_dataset(name: str, root: str | Path, workers: int = 0) -> Report:
    """Read every file of a dataset in its folder ``root``, with a progress bar, in ``workers`` processes.

    Without workers everything is read in this process. Raises DataError if a process dies.
    """
    images, problems, findings = {}, {}, []
    for split in DATASETS[name].splits:
        if split in DATASETS[name].same_splits:
            continue
        errors: list[DataError] = []
        try:
            dataset = DATASETS[name](root, split, UNUSED, problems=errors)
            images[split] = len(dataset) or None
            findings += [Findings(dataset)] if len(dataset) else []
        except (DataError, OSError) as error:
            images[split] = None
            errors.append(error)
        problems[split] = [str(error) for error in errors]
    for split, found in with_progress(ConcatDataset(findings), workers, LABELS[name].title) if findings else ():
        problems[split] += found
    return Report(name, images, problems)


def with_progress(findings: Dataset, workers: int, title: str) -> Iterator[tuple[str, list[str]]]:
    """What is found about each face, in order."""
    loader = DataLoader(findings, IMAGES_AT_ONCE, num_workers=workers, collate_fn=list, worker_init_fn=ignore_ctrl_c)
    with tqdm(total=len(findings), desc=f"checking {title}", unit="img", dynamic_ncols=True) as bar:
        try:
            with interrupted_afterwards():
                batches = iter(loader)
            for batch in batches:
                yield from batch
                bar.update(len(batch))
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            reason = "a process that read was killed, perhaps for want of memory"
            raise DataError(f"{reason} ({error}). --workers 0 needs the least.") from error


def ignore_ctrl_c(_: int = 0) -> None:
    """In a worker: Ctrl-C reaches all processes of a terminal, and only the parent is to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Keep Ctrl-C for the end of the block: while processes are forked, Python would lose it."""
    caught = []
    usual = signal.signal(signal.SIGINT, lambda *_: caught.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if caught:
        raise KeyboardInterrupt


def problems_of(dataset: FaceParsingDataset, sample: Sample) -> list[str]:
    """All that is wrong with the files of a face that exist; what is missing was told when the dataset was built."""
    dataset.problems = errors = []

    def attempt(read: Callable[..., T], *args: object) -> T | None:
        try:
            return read(*args)
        except DataError as error:
            errors.append(error)
            return None

    if sample.whole:
        attempt(dataset.read, sample)
    if errors or not sample.whole:  # one fault can hide others, so every file for itself
        image = attempt(read_rgb, sample.image) if sample.image.is_file() else None
        if sample.landmarks and sample.landmarks.is_file():
            attempt(dataset.read_landmarks, sample)
        if sample.labels and all(path.is_file() for path in sample.labels):
            attempt(dataset.read_label, sample, image and image.size)
    return list(dict.fromkeys(map(str, errors)))


def default_root(dataset: str) -> Path:
    """The dataset's folder under DATA_PATH; the environment wins over the .env beside train.py."""
    data_path = os.environ.get("DATA_PATH")
    if not data_path and ENVIRONMENT_FILE.is_file():
        try:
            from dotenv import dotenv_values
        except ImportError as error:
            raise DataError(f"{ENVIRONMENT_FILE} needs python-dotenv: pip install python-dotenv, or --root") from error
        value = dotenv_values(ENVIRONMENT_FILE).get("DATA_PATH")
        data_path = value and ENVIRONMENT_FILE.parent / Path(value).expanduser()
    if not data_path:
        raise DataError("DATA_PATH is not set, in the environment or in .env; set it, or name the folder with --root")
    return dataset_root(Path(data_path).expanduser(), dataset)


def command_line() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=dataset_name, required=True, help=", ".join(DATASETS))
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--root", type=Path, help="the dataset's own folder (default: its folder under DATA_PATH)")
    folder.add_argument("--data_path", type=Path, help="the folder that holds the dataset folders (default: DATA_PATH)")
    parser.add_argument(
        "--workers", type=count, default=os.cpu_count(), help="processes; 0 for none (default: one for each core)"
    )
    return parser


def main() -> None:
    parser = command_line()
    args = parser.parse_args()
    try:
        root = args.root or (
            dataset_root(args.data_path, args.dataset) if args.data_path else default_root(args.dataset)
        )
    except DataError as error:
        parser.error(str(error))
    try:
        report = check_dataset(args.dataset, root, args.workers)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        sys.exit(130)
    except DataError as error:
        sys.exit(f"\nerror: {error}")
    problems = report.lines()
    print(*problems, *([""] if problems else []), report.table(), sep="\n")
    print(f"\n{root}: " + (f"{len(problems):,} problem{'s' * (len(problems) > 1)}" if problems else "no problem"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
