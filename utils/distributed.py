"""Processes under torchrun, or one process without it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from utils.config import SettingsError


@dataclass(frozen=True)
class World:
    """This process among those of the run: its rank, their number, and the device it works on."""

    rank: int
    local_rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes files."""
        return self.rank == 0


@contextmanager
def distributed_world(device: str = "auto") -> Iterator[World]:
    """The process group that torchrun's environment describes: nccl on GPUs, gloo on CPUs; none in a plain run.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    """
    rank, local_rank, size = (int(os.environ.get(key, default)) for key, default in RANK_VARIABLES)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{local_rank}"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"--device {device} is no device; choose auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        if (chosen.index or 0) >= torch.cuda.device_count():
            raise SettingsError(
                f"rank {rank} wants the GPU {chosen}, and this machine has {torch.cuda.device_count()}; start fewer "
                "processes (--nproc_per_node, or GPUS=N of the scripts), or choose --device cpu"
            )
        torch.cuda.set_device(chosen)
    under_torchrun = "RANK" in os.environ
    if under_torchrun:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    yield World(rank, local_rank, size, chosen)
    if under_torchrun:  # not after an error: the other ranks may be in a collective, and torchrun ends them
        dist.destroy_process_group()


RANK_VARIABLES = (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))


def barrier() -> None:
    """Wait for all ranks."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def one_rank_of_a_node_first(world: World) -> Iterator[None]:
    """Run the block on one rank of each node, for downloads, and then on its others, which find them in the cache."""
    if world.local_rank > 0:
        barrier()
    yield
    if world.local_rank == 0:
        barrier()


def sync_buffers(model: nn.Module) -> None:
    """Give every rank the BatchNorm statistics of rank 0, which are those that a checkpoint holds."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all ranks."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values
