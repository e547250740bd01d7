"""How the ranks of a run find each other, also when torchrun has started them again."""

import time
import uuid
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

PAUSE = 0.02  # seconds from one look to the next


def fresh_store(timeout: timedelta) -> tuple[dist.Store, str]:
    """A store with nothing in it that all ranks share, and a word that stays the same while the store behind it lives.

    torchrun keeps one store for all its attempts, as a rule, so the word tells one torchrun command from another. What
    ranks that are gone have left there, such as their addresses, would be waited for in vain, so each attempt gets a
    prefix of its own, which rank 0 draws and the others ask for. Raises TimeoutError where not all ranks come.
    """
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    launch = store.compare_set("launch", "", uuid.uuid4().hex).decode()  # set by the first that comes
    return dist.PrefixStore(agree_on_prefix(store, rank, size, timeout), store), launch


def agree_on_prefix(store: dist.Store, rank: int, size: int, timeout: timedelta) -> str:
    """A word that rank 0 draws, on every rank, whatever former ranks have left in the store.

    Every other rank asks with a word of its own until it is answered with that very word, and confirms what it got.
    """
    mine, deadline = uuid.uuid4().hex, time.monotonic() + timeout.total_seconds()
    waiting = set(range(1, size)) if rank == 0 else {rank}
    if rank > 0:
        store.set(f"question {rank}", mine)
    while waiting:
        if time.monotonic() > deadline:
            raise TimeoutError(f"rank {rank} waited {timeout} for ranks {sorted(waiting) if rank == 0 else 0}")
        for other in sorted(waiting):
            if rank == 0:
                if read(store, f"confirmed {other}") == mine:
                    waiting.discard(other)
                elif question := read(store, f"question {other}"):
                    store.set(f"answer {other}", f"{question} {mine}")
            else:
                question, _, prefix = read(store, f"answer {rank}").partition(" ")
                if question == mine:
                    store.set(f"confirmed {rank}", prefix)
                    return prefix
        time.sleep(PAUSE)
    return mine


def read(store: dist.Store, key: str) -> str:
    """What a store has under a key, or nothing, without waiting for it."""
    return store.get(key).decode() if store.check([key]) else ""
