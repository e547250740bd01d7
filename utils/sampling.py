"""Which images a rank sees, and in which batches."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from utils.reproducibility import epoch_seed


class TrainBatches(Sampler[list[int]]):
    """This rank's batches of a shuffled epoch; the last partial batch of the whole run is dropped, as published.

    The order comes from (seed, epoch) alone, and all ranks have the same number of batches.
    """

    def __init__(self, length: int, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0) -> None:
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        stride = self.batch_size * self.world_size
        for step in range(len(self)):
            first = step * stride + self.rank * self.batch_size
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

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
