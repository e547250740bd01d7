"""Which images a rank sees, and in which batches."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from utils.errors import SettingsError
from utils.reproducibility import epoch_seed


class TrainBatches(Sampler[list[int]]):
    """This rank's batches of a shuffled epoch; the last partial step of the whole run is dropped, as published.

    A step takes ``accumulate`` batches of every rank. The order comes from (seed, epoch) alone, and all ranks have the
    same number of batches. ``seen`` images from the epoch's beginning are left out: those of a run that goes on inside
    an epoch, whatever its ranks and batches were.
    """

    def __init__(
        self, length: int, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0, accumulate: int = 1
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.accumulate = accumulate
        self.epoch = 0
        self.seen = 0

    def check_enough(self) -> None:
        """Raise SettingsError unless there are images for one step."""
        if self.length >= self.images_per_step:
            return
        fitting = self.length // (self.world_size * self.accumulate)
        fewer = " or --grad_accum" if self.accumulate > 1 else ""
        remedy = f"lower --train_bs to {fitting}{fewer}" if fitting else f"start at most {self.length} processes{fewer}"
        batch = f"--train_bs {self.batch_size}" + (f" x --grad_accum {self.accumulate}" if fewer else "")
        raise SettingsError(
            f"the train split has {self.length} images, fewer than one batch of {batch} on {self.world_size} ranks; "
            f"{remedy}"
        )

    @property
    def images_per_step(self) -> int:
        """Images of one optimizer step, over all ranks."""
        return self.batch_size * self.world_size * self.accumulate

    @property
    def steps(self) -> int:
        """Optimizer steps that are left of the epoch."""
        return (self.length - self.seen) // self.images_per_step

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        stride = self.batch_size * self.world_size
        for number in range(len(self)):
            first = self.seen + number * stride + self.rank * self.batch_size
            yield order[first : first + self.batch_size]


class EvalBatches(Sampler[list[int]]):
    """This rank's share of a split, every image once over all ranks.

    The split is cut into batches first, and whole batches are dealt to the ranks, so that each image is always
    computed in the same company and the result does not depend on the number of ranks.
    """

    def __init__(self, length: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        indices = list(range(length))
        batches = [indices[i : i + batch_size] for i in range(0, length, batch_size)]
        self.batches = batches[rank::world_size]
        self.rounds = -(-len(batches) // world_size)  # in the last one some ranks have no batch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
