"""Evaluation: one confusion matrix over all pixels of all images, and what follows from it."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist

from datasets.labels import IGNORE, LABELS, canonical_name

PIXELS_AT_ONCE = 2**18  # they stay in a processor's cache, and OpenCV's float32 counts them exactly
TABLES = 4


class FaceParsingMetrics:
    """Confusion matrix of a dataset's classes: update with every batch, reduce over ranks once, compute.

    Counts are int64 on the device of the predictions, so the result does not depend on the order of the images nor
    on how they are spread over ranks.
    """

    def __init__(self, dataset: str, device: torch.device | str = "cpu") -> None:
        self.labels = LABELS[canonical_name(dataset)]
        K = self.labels.num_classes
        self.confusion = torch.zeros(K, K, dtype=torch.int64, device=device)  # [ground truth, prediction]
        self.num_images = 0

    def update(self, prediction: torch.Tensor, label: torch.Tensor) -> None:
        """Count a batch: class indices (B, H, W) or (H, W), integers of any kind; label 255 is not counted.

        Raises ValueError for shapes that differ or a value that is no class.
        """
        if prediction.shape != label.shape or label.ndim not in (2, 3):
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)}; expected two of (B, H, W)"
            )
        counts = torch.zeros_like(self.confusion)
        count = count_pairs_on_cpu if counts.device.type == "cpu" else count_pairs
        maps = (in_parts(values.to(counts.device)) for values in (label, prediction))
        for truth, predicted in zip(*maps, strict=True):
            self.check("label", truth)
            self.check("prediction", predicted)
            counts += count(truth, predicted, self.labels.num_classes)
        self.confusion += counts
        self.num_images += len(label) if label.ndim == 3 else 1

    def check(self, name: str, values: torch.Tensor) -> None:
        """Raise ValueError for a value that is no class; in a label, 255 is none and not counted."""
        K = self.labels.num_classes
        if values.numel() and beyond(values, K):
            values = values[values != IGNORE] if name == "label" else values
            if values.numel() and beyond(values, K):
                raise ValueError(
                    f"{name} values from {values.min()} to {values.max()}; {self.labels.title} has classes 0 to {K - 1}"
                )

    def all_reduce(self) -> None:
        """Sum the counts of all ranks, in one reduction; without a process group nothing happens."""
        if not dist.is_initialized():
            return
        counts = torch.cat([self.confusion.flatten(), self.confusion.new_tensor([self.num_images])])
        dist.all_reduce(counts)
        self.confusion, self.num_images = counts[:-1].view_as(self.confusion), int(counts[-1])

    def compute(self) -> dict[str, Any]:
        """Scores as fractions of 1.

        ``f1`` and ``iou`` map every class to its score, or None where it is in neither ground truth nor prediction:
        such a class is left out of ``mean_f1`` (over classes without background), ``long_tail_f1`` and ``mean_iou``
        (with background), which are None where no class is left. ``group_f1`` counts confusions inside a group as
        hits. ``mean_accuracy`` is the mean over all classes of ``TP / max(1, GT)``.
        """
        names = self.labels.names
        confusion = self.confusion.cpu().double()
        hits, truth, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
        f1 = dict(zip(names, map(ratio, 2 * hits, truth + predicted), strict=True))
        iou = dict(zip(names, map(ratio, hits, truth + predicted - hits), strict=True))
        group_f1 = {}
        for group, members in self.labels.groups.items():
            index = [names.index(member) for member in members]
            group_f1[group] = ratio(2 * confusion[index][:, index].sum(), truth[index].sum() + predicted[index].sum())
        return {
            "mean_f1": mean(f1[name] for name in names[1:]),
            "f1": f1,
            "group_f1": group_f1,
            "long_tail_f1": mean(f1[name] for name in self.labels.long_tail),
            "mean_iou": mean(iou.values()),
            "iou": iou,
            "pixel_accuracy": ratio(hits.sum(), truth.sum()),
            "mean_accuracy": (hits / truth.clamp(min=1)).mean().item(),
            "num_images": self.num_images,
        }


def beyond(values: torch.Tensor, K: int) -> bool:
    """Whether some are not from 0 to K - 1."""
    low, high = torch.stack(values.aminmax()).tolist()
    return low < 0 or high >= K


def in_parts(maps: torch.Tensor) -> Sequence[torch.Tensor]:
    """Class indices (..., W) in rows (n, W), on a CPU some at a time, to be checked and counted while in its cache."""
    rows = maps.reshape(-1, maps.shape[-1])
    on_cpu = rows.device.type == "cpu"
    return rows.split(max(1, PIXELS_AT_ONCE // max(1, rows.shape[1]))) if on_cpu else [rows]


def count_pairs(label: torch.Tensor, prediction: torch.Tensor, K: int) -> torch.Tensor:
    """How often each of K classes was predicted for each of them: int64 (K, K), without labels of 255."""
    pairs = torch.where(label == IGNORE, K * K, label.long() * K + prediction)
    return torch.bincount(pairs.flatten(), minlength=K * K + 1)[: K * K].view(K, K)


def count_pairs_on_cpu(label: torch.Tensor, prediction: torch.Tensor, K: int) -> torch.Tensor:
    """The same by OpenCV, whose histogram of small integers is the quicker one."""
    width, size = label.shape[-1], TABLES * K * K
    # A label of 255 goes beyond all tables.
    pairs = prediction.to(torch.int16).add_(label, alpha=K).add_(tables_of_columns(width, K * K))
    pairs = pairs.view(-1, max(width, math.gcd(pairs.numel(), 8192)))  # it is quicker at long rows
    histogram = cv2.calcHist([pairs.numpy().view(np.uint16)], [0], None, [size], [0, size])
    return torch.from_numpy(histogram.reshape(TABLES, K, K).sum(0).astype(np.int64))


@lru_cache
def tables_of_columns(width: int, size: int) -> torch.Tensor:
    """Where the table of each column begins: they take turns, as a processor waits to add to one number again."""
    return size * (torch.arange(width, dtype=torch.int16) % TABLES)


def ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> float | None:
    """A quotient, or None where there is nothing to divide by."""
    return (numerator / denominator).item() if denominator > 0 else None


def mean(scores) -> float | None:
    """Mean of the scores that exist, or None."""
    scores = [score for score in scores if score is not None]
    return sum(scores) / len(scores) if scores else None
