"""Scores as a table for people, and the circumstances of a result for programs."""

import hashlib
import platform
from pathlib import Path
from typing import Any

import numpy
import PIL
import timm
import torch
import torchvision

from datasets.labels import Labels

ACCURACIES = {"pixel accuracy": "pixel_accuracy", "mean accuracy": "mean_accuracy"}


def score_table(scores: dict[str, Any], labels: Labels) -> str:
    """F1 and IoU of every class, in percent, and the means under them."""
    width = max(len("mean F1, without background"), *(len(name) for name in (*labels.names, *labels.groups)))
    lines = [f"{'class':{width}}  {'F1':>6}  {'IoU':>6}"]
    for name in labels.names:
        tail = "  long tail" if name in labels.long_tail else ""
        lines.append(f"{name:{width}}  {percent(scores['f1'][name])}  {percent(scores['iou'][name])}{tail}")
    lines.append("-" * (width + 16))
    lines += [f"{name:{width}}  {percent(f1)}" for name, f1 in scores["group_f1"].items()]
    lines.append(f"{'mean F1, without background':{width}}  {percent(scores['mean_f1'])}")
    if labels.long_tail:
        lines.append(f"{'long-tail mean F1':{width}}  {percent(scores['long_tail_f1'])}")
    lines.append(f"{'mean IoU':{width}}  {'':6}  {percent(scores['mean_iou'])}")
    accuracies = (f"{name} {percent(scores[key]).strip()}" for name, key in ACCURACIES.items())
    lines.append(", ".join(accuracies))
    return "\n".join(lines)


def percent(score: float | None) -> str:
    """A fraction as percent with two digits, or a word where the class is in no image."""
    return "absent" if score is None else f"{100 * score:6.2f}"


def summary(means: dict[str, float], scores: dict[str, Any], lr: float) -> str:
    """One line on an epoch of training: means as Trainer.train_epoch returns them, scores of its validation."""
    parts = [f"loss {means['loss']:.4f}", f"CE {means['ce']:.4f}", f"Dice {means['dice']:.4f}"]
    for key, name in (("val", "val mean F1"), ("val_ema", "EMA's")):
        if scores.get(key):
            parts.append(f"{name} {percent(scores[key]['mean_f1']).strip()}")
    parts += [
        f"lr {lr:.1e}",
        f"{means['samples_per_second']:.1f} samples/s",
        f"{means['data_wait']:.0%} waiting for data",
        f"peak memory {means['peak_memory_gb']:.1f} GB",
    ]
    if means["skipped_steps"]:
        parts.append(f"{means['skipped_steps']} steps skipped")
    return ", ".join(parts)


def sha256(path: Path) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what a result rests on."""
    modules = (torch, torchvision, timm, numpy, PIL)
    return {"python": platform.python_version()} | {module.__name__: module.__version__ for module in modules}


def hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"
