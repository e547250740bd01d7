"""torch.compile sees each model as one graph, and compiles it once for a size."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from network import create_segface

LANDMARKS = torch.tensor([[[0.38, 0.44], [0.62, 0.45], [0.5, 0.56], [0.43, 0.7], [0.58, 0.7]]])


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("name", "head"),
    [("mobilenet", "segface_celeb"), ("swin_base", "segface_lapa"), ("swinv2_tiny", "segface_celeb"),
     ("convnext_tiny", "segface_helen"), ("resnet", "segface_celeb"), ("efficientnet", "segface_celeb")],
)  # fmt: skip
def test_one_graph_for_a_size(name, head, train):
    side = 64
    model = create_segface(name, head, side, pretrained="none").train(train)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.set_grad_enabled(train):
        for _ in range(3):
            compiled(torch.randn(2, 3, side, side), (LANDMARKS * side).repeat(2, 1, 1))
    assert counter.frame_count == 1


def test_compiled_model_gives_the_same_outputs():
    model = create_segface("mobilenet", "segface_celeb", 64, pretrained="none").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        found = torch.compile(model, backend="aot_eager", fullgraph=True)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
