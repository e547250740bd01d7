import itertools

import pytest

from utils.sampling import EvalBatches, TrainBatches


@pytest.mark.parametrize(
    ("length", "batch_size", "world_size"), [(11, 2, 1), (11, 2, 3), (2, 4, 3), (7, 1, 2), (0, 4, 2)]
)
def test_evaluation_sees_every_image_once_in_the_same_company(length, batch_size, world_size):
    shares = [list(EvalBatches(length, batch_size, rank, world_size)) for rank in range(world_size)]
    batches = list(itertools.chain(*shares))
    assert sorted(itertools.chain(*batches)) == list(range(length))
    assert sorted(batches) == sorted(EvalBatches(length, batch_size))


@pytest.mark.parametrize(("length", "batch_size", "world_size"), [(11, 2, 1), (25, 2, 3), (8, 4, 2)])
def test_training_ranks_have_equally_many_full_disjoint_batches(length, batch_size, world_size):
    shares = [list(TrainBatches(length, batch_size, rank, world_size)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {length // (batch_size * world_size)}
    assert {len(batch) for share in shares for batch in share} == {batch_size}
    seen = [index for share in shares for batch in share for index in batch]
    assert len(seen) == len(set(seen)) == length // (batch_size * world_size) * batch_size * world_size


def test_training_order_depends_on_seed_and_epoch():
    def order(seed, epoch):
        batches = TrainBatches(50, 5, seed=seed)
        batches.epoch = epoch
        return list(batches)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
