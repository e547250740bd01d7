"""Processes under torchrun, or one process without it."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from utils.errors import RankError, SettingsError
from utils.rendezvous import fresh_store

RANK_VARIABLES = (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
TIMEOUT = timedelta(minutes=30)
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run: its rank, their number, and the device it works on.

    ``launch`` is a word for the command that started all of them, those too that torchrun starts again.
    """

    rank: int
    local_rank: int
    size: int
    device: torch.device
    launch: str = ""

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
            raise RankError(
                f"rank {rank} wants the GPU {chosen}, and this machine has {torch.cuda.device_count()}; start fewer "
                "processes (--nproc_per_node, or GPUS=N of the scripts), or choose --device cpu"
            )
        torch.cuda.set_device(chosen)
    under_torchrun = "RANK" in os.environ
    if under_torchrun:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        store, launch = fresh_store(TIMEOUT)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    yield World(rank, local_rank, size, chosen, launch if under_torchrun else uuid.uuid4().hex)
    if under_torchrun:  # not after an error: the other ranks may be in a collective, and torchrun ends them
        dist.destroy_process_group()


def torchrun_id() -> str:
    """A word for the torchrun that started this process, on its machine."""
    return f"{os.environ.get('TORCHELASTIC_RUN_ID')} {socket.gethostname()} {os.getppid()}"


def is_started_again(world: World) -> bool:
    """Whether torchrun's --max_restarts has started the run again, for a rank that died on any node; all must ask."""
    return any_rank(world, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0)[0]


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


def any_rank(world: World, *flags: bool | torch.Tensor) -> list[bool]:
    """For each flag, whether it is set on any of the ranks, all of which must ask at once."""
    votes = torch.tensor([not isinstance(flag, torch.Tensor) and flag for flag in flags]).to(world.device).int()
    for number, flag in enumerate(flags):
        if isinstance(flag, torch.Tensor):
            votes[number] = flag
    if dist.is_initialized():
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return [vote > 0 for vote in votes.tolist()]


def gather_from_ranks(value: T) -> list[T]:
    """The small values of all ranks, in their order."""
    values = [value]
    if dist.is_initialized():
        values = [value] * dist.get_world_size()
        dist.all_gather_object(values, value)
    return values


def decided_by_main(world: World, decide: Callable[[], T]) -> T:
    """What ``decide`` returns on the main rank, on all of them; what it raises is raised on all."""
    outcome: list[Any] = [None, None]
    if world.is_main:
        try:
            outcome[0] = decide()
        except Exception as error:
            if not dist.is_initialized():
                raise
            outcome[1] = error
    if dist.is_initialized():
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
