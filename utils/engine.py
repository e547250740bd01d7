"""Reading batches, bringing them to the device, and one pass of evaluation."""

import atexit
import time
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from datasets import FaceParsingDataset
from datasets.transforms import normalize
from network import label_map
from utils.distributed import World, any_rank
from utils.errors import PeerError
from utils.logging import progress_bar
from utils.metrics import FaceParsingMetrics
from utils.precision import Precision
from utils.stopping import Stopped, StopRequest, leave_stopping_to_the_parent


def create_loader(dataset: FaceParsingDataset, batches: Iterable[list[int]], num_workers: int, world: World):
    """Batches of samples, read ahead by ``num_workers`` processes."""
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=world.device.type == "cuda",
        persistent_workers=num_workers > 0,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=leave_stopping_to_the_parent,
        generator=torch.Generator(),  # else the first epoch of a process would draw from the model's random numbers
    )
    if num_workers:
        atexit.register(end_workers, loader)
    return loader


def end_workers(loader: DataLoader) -> None:
    """Let the processes of a loader go. At exit Python would ask them by a signal, which they leave to their parent."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()


class Reader:
    """Reads batches, a few at a time, and counts the seconds ``waited`` for them.

    What goes wrong is kept in ``error`` and not raised, so that a rank can tell the others before it ends: they would
    wait for it in vain.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.batches: Iterator[dict] | None = None
        self.loader = loader
        self.waited = 0.0
        self.error: Exception | None = None

    def read(self, count: int = 1) -> list[dict]:
        """The next ``count`` batches; none at the end, or after an error."""
        started, batches = time.perf_counter(), []
        try:
            self.batches = iter(self.loader) if self.batches is None else self.batches
            batches = [batch for _, batch in zip(range(count), self.batches, strict=False)]
        except Exception as error:
            self.error = error
        self.waited += time.perf_counter() - started
        return batches


def to_device(
    batch: dict, device: torch.device, memory_format: torch.memory_format = torch.contiguous_format
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalised images (B, 3, R, R), labels (B, R, R) and landmarks (B, 5, 2) of a batch, on the device."""
    image, label, landmarks = (batch[key].to(device, non_blocking=True) for key in ("image", "label", "landmarks"))
    return normalize(image).to(memory_format=memory_format), label, landmarks


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader,
    dataset: str,
    world: World,
    title: str,
    stop: StopRequest | None = None,
    precision: Precision | None = None,
) -> dict:
    """Scores of a model (see FaceParsingMetrics.compute) over all ranks' shares of a split, reduced once.

    ``precision`` is that of the forward pass, float32 by default.
    Raises what a rank could not read there, and PeerError on the other ranks; Stopped on all if ``stop`` was received.
    """
    model.eval()
    precision = precision or Precision(world.device)
    metrics = FaceParsingMetrics(dataset, world.device)
    reader = Reader(loader)
    images_of_rank = sum(map(len, loader.batch_sampler))
    with progress_bar(title, images_of_rank, world.is_main) as bar:
        for _ in range(loader.batch_sampler.rounds):
            batches = reader.read()
            failed, stopped = any_rank(world, reader.error is not None, stop is not None and stop.received is not None)
            if failed:
                raise reader.error or PeerError("another rank could not read its images; see its message")
            if stopped:
                raise Stopped(stop.received or "a signal to another rank")
            for batch in batches:
                images, labels, landmarks = to_device(batch, world.device)
                with precision.autocast():
                    logits = model(images, landmarks)
                metrics.update(label_map(logits), labels)
                bar.update(len(images))
    metrics.all_reduce()
    return metrics.compute()
