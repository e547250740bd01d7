"""Samples per second of a dataset's reader in one process with one thread.

Without a cache, with cached label maps, and with cached samples, too. Everything is read once before, so files come
from memory and not from the disk.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import FaceParsingDataset, SampleCache, create_dataset
from scripts.benchmarks.timing import in_words, ratios, spread, table
from utils.errors import SettingsError


def samples_per_second(dataset: FaceParsingDataset, count: int, seconds: float) -> float:
    """How fast samples are read, at least ``count`` and for some ``seconds``; a small split is read over again."""
    start, elapsed, done = time.perf_counter(), 0.0, 0
    while done < count or elapsed < seconds:
        dataset[done % len(dataset)]
        done += 1
        elapsed = time.perf_counter() - start
    return done / elapsed


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a reader with and without caches, and print a table; ``ratio`` is to reading without one."""
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
            "ratio": ratios(values, plain),
        }
        for name, values in rates.items()
    }
    images = len(datasets["no cache"])
    print(f"{args.dataset} {args.split}, {images} images, {args.input_resolution} px, one thread")
    print(
        f"median (smallest to largest) of {args.repeat} rounds of {args.samples} samples and {args.seconds} s or more"
    )
    columns = [(name, in_words(row["samples_per_second"], 1), in_words(row["ratio"], 2)) for name, row in rows.items()]
    print(table(("", "samples/s", "times as fast"), columns))
    return {"dataset": args.dataset, "split": args.split, "images": images, "resolution": args.input_resolution} | {
        "samples": args.samples, "seconds": args.seconds, "rounds": rates, "rows": rows,
    }  # fmt: skip
