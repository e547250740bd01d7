import pytest
import torch
from torch import nn

from datasets import LABELS, create_dataset
from utils.distributed import World
from utils.engine import create_loader, evaluate
from utils.precision import Precision
from utils.sampling import EvalBatches

SIDE = 32


class Spy(nn.Module):
    """Says background everywhere, and notes the precision of its products."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, images, landmarks):
        self.seen.add((images @ images.mT).dtype)
        logits = images.new_zeros(len(images), LABELS["helen"].num_classes, SIDE, SIDE)
        logits[:, 0] = 1
        return logits


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_evaluation_computes_in_the_precision_that_was_asked_for(amp, dtype, drawn_data):
    world, spy = World(0, 0, 1, torch.device("cpu")), Spy()
    dataset = create_dataset("helen", drawn_data / LABELS["helen"].folder, "test", SIDE)
    loader = create_loader(dataset, EvalBatches(len(dataset), 2), 0, world)
    scores = evaluate(spy, loader, "helen", world, "test", precision=Precision(world.device, amp))
    assert spy.seen == {dtype}
    assert scores["num_images"] == len(dataset)
    assert scores["f1"]["hair"] in (0, None)
