from datetime import timedelta
from threading import Thread

import pytest
import torch.distributed as dist

from utils.rendezvous import agree_on_prefix

SOON = timedelta(seconds=20)


def agreed(store, ranks: list[int], size: int) -> dict[int, str]:
    """What some ranks agree on in a store, which former ones have used."""
    found = {}

    def ask(rank):
        found[rank] = agree_on_prefix(store, rank, size, SOON)

    threads = [Thread(target=ask, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("size", [1, 2, 5])
def test_ranks_agree_in_each_attempt_anew_whatever_was_left_by_the_former(size):
    store = dist.HashStore()
    attempts = [agreed(store, list(order), size) for order in (range(size), reversed(range(size)), range(size))]
    assert all(len(attempt) == size and len(set(attempt.values())) == 1 for attempt in attempts)
    assert len({attempt[0] for attempt in attempts}) == 3


def test_rank_that_died_while_agreeing_does_not_spoil_the_next_attempt():
    store = dist.HashStore()
    store.set("question 1", "of a process that is gone")
    store.set("answer 1", "of-another prefix")
    store.set("confirmed 2", "former")
    assert len(set(agreed(store, [0, 1, 2], 3).values())) == 1


def test_rank_that_never_comes_is_named():
    with pytest.raises(TimeoutError, match=r"rank 0 waited .* for ranks \[1\]"):
        agree_on_prefix(dist.HashStore(), 0, 2, timedelta(seconds=0.2))
