"""Measure speed on this machine.

python -m scripts.benchmark reading --dataset celebamask_hq --root data/CelebAMask-HQ --input_resolution 512

reading: samples per second of a dataset's reader in one process with one thread, without a cache, with cached label
maps, and with cached samples, too. The three take turns in every round, so that a change of the machine's speed meets
all of them. Everything is read once before, so files come from memory and not from the disk.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from datasets import FaceParsingDataset, SampleCache, create_dataset
from datasets.arguments import dataset_name
from utils import cli
from utils.config import SettingsError
from utils.flags import positive


def machine() -> dict[str, str]:
    """What a speed depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "Pillow": PIL.__version__,
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def samples_per_second(dataset: FaceParsingDataset, count: int, seconds: float) -> float:
    """How fast samples are read, at least ``count`` and for some ``seconds``; a small split is read over again."""
    start, elapsed, done = time.perf_counter(), 0.0, 0
    while done < count or elapsed < seconds:
        dataset[done % len(dataset)]
        done += 1
        elapsed = time.perf_counter() - start
    return done / elapsed


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a reader with and without caches, and print a table; ``ratio`` is to reading without one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        caches = {
            "no cache": None,
            "labels cached": SampleCache(Path(folder) / "labels"),
            "labels and samples cached": SampleCache(Path(folder) / "both", images=True),
        }
        datasets = {
            name: create_dataset(args.dataset, args.root, args.split, args.input_resolution, cache=cache)
            for name, cache in caches.items()
        }
        for dataset in datasets.values():
            samples_per_second(dataset, len(dataset), seconds=0)
        for complaint in filter(None, (cache and cache.complaint() for cache in caches.values())):
            raise SettingsError(f"nothing to measure: {complaint}. Set TMPDIR to a folder on another disk")

        rates: dict[str, list[float]] = {name: [] for name in datasets}
        for _ in range(args.repeat):
            for name, dataset in datasets.items():
                rates[name].append(samples_per_second(dataset, args.samples, args.seconds))
    plain = rates["no cache"]
    rows = {
        name: {
            "samples_per_second": spread(values),
            "ratio": spread([value / base for value, base in zip(values, plain, strict=True)]),
        }
        for name, values in rates.items()
    }
    images = len(datasets["no cache"])
    print(f"{args.dataset} {args.split}, {images} images, {args.input_resolution} px, one thread")
    print(
        f"median (smallest to largest) of {args.repeat} rounds of {args.samples} samples and {args.seconds} s or more"
    )
    print(f"{'':25} {'samples/s':>30} {'times as fast':>30}")
    for name, row in rows.items():
        print(f"{name:25} {in_words(row['samples_per_second'], 1)} {in_words(row['ratio'], 2)}")
    return {"dataset": args.dataset, "split": args.split, "images": images, "resolution": args.input_resolution} | {
        "samples": args.samples, "seconds": args.seconds, "rounds": rates, "rows": rows,
    }  # fmt: skip


def in_words(values: dict[str, float], digits: int) -> str:
    """A median with its spread, as a column."""
    median, low, high = (f"{values[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{f'{median} ({low} to {high})':>30}"


def command_line() -> argparse.ArgumentParser:
    """The command line: a subcommand for each thing that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("reading", help="samples per second of a dataset's reader")
    command.set_defaults(measure=reading)
    add = command.add_argument
    add("--dataset", type=dataset_name, default="celebamask_hq", help="the dataset (default: celebamask_hq)")
    add("--root", type=Path, required=True, help="the dataset's own folder")
    add("--split", choices=("train", "val", "test"), default="train", help="augmented as in training (default: train)")
    add("--input_resolution", type=positive, default=512, help="side of the samples in pixels (512)")
    add("--samples", type=positive, default=40, help="samples of a turn, at least; a smaller split is read again (40)")
    add("--seconds", type=float, default=0.5, help="seconds of a turn, at least (0.5)")
    add("--repeat", type=positive, default=7, help="rounds (7)")
    for command in commands.choices.values():
        command.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def main() -> None:
    args = command_line().parse_args()
    circumstances = machine()
    print(", ".join(f"{name} {value}" for name, value in circumstances.items()))
    result = args.measure(args)
    if args.json:
        args.json.write_text(json.dumps({"machine": circumstances, **result}, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main)
