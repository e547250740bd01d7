"""Evaluation: one confusion matrix over all pixels of all images, and what follows from it."""

from typing import Any

import torch
import torch.distributed as dist

from datasets.labels import IGNORE, LABELS, canonical_name


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
        K, num_images = self.labels.num_classes, len(label) if label.ndim == 3 else 1
        label = label.to(self.confusion.device).flatten().long()
        prediction = prediction.to(self.confusion.device).flatten().long()
        counted = label != IGNORE
        if not counted.all():
            label, prediction = label[counted], prediction[counted]
        for name, values in (("label", label), ("prediction", prediction)):
            if len(values) and not 0 <= values.min() <= values.max() < K:
                raise ValueError(
                    f"{name} values from {values.min()} to {values.max()}; {self.labels.title} has classes 0 to {K - 1}"
                )
        self.confusion += torch.bincount(label * K + prediction, minlength=K * K).view(K, K)
        self.num_images += num_images

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


def ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> float | None:
    """A quotient, or None where there is nothing to divide by."""
    return (numerator / denominator).item() if denominator > 0 else None


def mean(scores) -> float | None:
    """Mean of the scores that exist, or None."""
    scores = [score for score in scores if score is not None]
    return sum(scores) / len(scores) if scores else None
