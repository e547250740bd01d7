"""One epoch of training, and one pass of evaluation."""

import math
import time
from collections.abc import Iterable
from logging import Logger

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets import FaceParsingDataset
from datasets.transforms import normalize
from utils.distributed import World, sum_over_ranks
from utils.losses import segface_loss
from utils.metrics import FaceParsingMetrics


def create_loader(dataset: FaceParsingDataset, batches: Iterable[list[int]], num_workers: int, world: World):
    """Batches of samples, read ahead by ``num_workers`` processes."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=world.device.type == "cuda",
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),  # else the first epoch of a process would draw from the model's random numbers
    )


def to_device(batch: dict, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalised images (B, 3, R, R), labels (B, R, R) and landmarks (B, 5, 2) of a batch, on the device."""
    image, label, landmarks = (batch[key].to(device, non_blocking=True) for key in ("image", "label", "landmarks"))
    return normalize(image), label, landmarks


def train_one_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    world: World,
    title: str,
    logger: Logger,
    log_interval: int,
) -> dict[str, float]:
    """Train on every batch once.

    Returns the means over all steps and ranks of ``loss``, ``ce`` and ``dice``, and ``samples_per_second`` of all
    ranks together.
    """
    model.train()
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)  # loss, CE, Dice, steps
    lr = optimizer.param_groups[0]["lr"]
    started, samples = time.perf_counter(), 0
    total = len(loader) * loader.batch_sampler.batch_size * world.size
    with tqdm(total=total, desc=title, unit="img", disable=not world.is_main, dynamic_ncols=True) as bar:
        for step, batch in enumerate(loader, start=1):
            images, labels, landmarks = to_device(batch, world.device)
            loss, parts = segface_loss(model(images, landmarks), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

            sums += torch.stack([loss.detach(), parts["ce"], parts["dice"], torch.ones_like(loss)])
            samples += len(images) * world.size
            bar.update(len(images) * world.size)
            if step % log_interval == 0 or step == len(loader) or step == 1:
                mean_loss = (sums[0] / sums[3]).item()
                bar.set_postfix(loss=f"{mean_loss:.4f}", lr=f"{lr:.1e}")
                if step % log_interval == 0:
                    speed = samples / (time.perf_counter() - started)
                    logger.info(f"{title} step {step}/{len(loader)}: loss {mean_loss:.4f}, {speed:.1f} samples/s")
    seconds = time.perf_counter() - started
    sums = sum_over_ranks(sums).tolist()
    if not math.isfinite(sums[0]):
        raise FloatingPointError(
            f"{title}: the loss is {sums[0]}. Nothing of this epoch was saved; last.pt is of the one before. "
            "Lower --lr, and look at the data"
        )
    means = {name: value / sums[3] for name, value in zip(("loss", "ce", "dice"), sums[:3], strict=True)}
    return means | {"samples_per_second": samples / seconds}


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader, dataset: str, world: World, title: str) -> dict:
    """Scores of a model (see FaceParsingMetrics.compute) over all ranks' shares of a split, reduced once."""
    model.eval()
    metrics = FaceParsingMetrics(dataset, world.device)
    images_of_rank = sum(map(len, loader.batch_sampler))
    with tqdm(total=images_of_rank, desc=title, unit="img", disable=not world.is_main, dynamic_ncols=True) as bar:
        for batch in loader:
            images, labels, landmarks = to_device(batch, world.device)
            metrics.update(model(images, landmarks).argmax(1), labels)
            bar.update(len(images))
    metrics.all_reduce()
    return metrics.compute()
