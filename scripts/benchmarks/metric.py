"""The update of FaceParsingMetrics beside the usual one: NumPy's bincount of pairs, once for F1, once for IoU."""

import argparse
from typing import Any

import numpy as np
import torch

from datasets import LABELS
from scripts.benchmarks.timing import in_turns, in_words, ratios, spread, table
from utils.metrics import FaceParsingMetrics

DATASET = "celebamask_hq"
SQUARE = 32  # pixels with one label side by side, before noise
NOISE = 0.1  # part of the pixels that is predicted at random


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of an update with label maps as they come from the model and the dataset."""
    K, generator = LABELS[DATASET].num_classes, torch.Generator().manual_seed(0)
    results, rows = [], []
    for batch in args.batch:
        shape = (batch, args.resolution, args.resolution)
        coarse = torch.randint(K, (batch, *(-(-side // SQUARE) for side in shape[1:])), generator=generator)
        truth = coarse.repeat_interleave(SQUARE, 1).repeat_interleave(SQUARE, 2)[:, : shape[1], : shape[2]]
        noise = torch.randint(K, shape, generator=generator)
        prediction = noise.where(torch.rand(shape, generator=generator) < NOISE, truth).to(args.device)
        label = truth.to(torch.uint8).to(args.device)
        metrics = FaceParsingMetrics(DATASET, args.device)

        def usual(label=label, prediction=prediction) -> np.ndarray:
            for _ in range(2):
                pairs = K * label.cpu().numpy().astype(np.int64) + prediction.cpu().numpy()
                counts = np.bincount(pairs.ravel(), minlength=K * K)
            return counts

        def ours(label=label, prediction=prediction, metrics=metrics) -> None:
            metrics.update(prediction, label)

        ours()
        if not np.array_equal(metrics.confusion.flatten().cpu().numpy(), usual()):
            raise RuntimeError("the two counts differ")
        times = in_turns({"usual": usual, "ours": ours}, args.repeat, args.device)
        milliseconds = {name: spread([1000 * t for t in values]) for name, values in times.items()}
        results.append({"batch": batch, "milliseconds": milliseconds, "ratio": ratios(times["usual"], times["ours"])})
        cells = (in_words(values, 2) for values in milliseconds.values())
        rows.append((f"{batch} x {shape[1]} x {shape[2]}", *cells, in_words(results[-1]["ratio"], 2)))
    print(f"update of the metric, median (smallest to largest) of {args.repeat} rounds")
    print(table(("label maps", "two bincounts, ms", "ours, ms", "times as fast"), rows))
    return {"resolution": args.resolution, "results": results}
