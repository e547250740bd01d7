"""On a CPU the face is worked on in strips and pictures one by one; elsewhere in one go. Both must agree."""

import pytest
import torch

from network import create_segface
from network.fusion import MLPFusion, rows_of_raised
from network.strips import rows_at_once
from utils.losses import segface_loss

SIDE = 128  # 32 rows of 32 tokens


@pytest.fixture(params=[32, 100, 300])
def strips(request, monkeypatch):
    """Strips of one row, of three and the last of two, and of nine and the last of five."""
    monkeypatch.setattr("network.strips.TOKENS_AT_ONCE", request.param)
    monkeypatch.setattr("network.strips.FEW_STRIPS", 0)
    assert rows_at_once(torch.zeros(1, 32, 32, 4)) == request.param // 32


def in_one_go(monkeypatch):
    monkeypatch.setattr("network.strips.is_for_onednn", lambda _: False)
    monkeypatch.setattr("network.strips.TOKENS_AT_ONCE", 10**9)


def model_and_batch(head="segface_helen"):
    torch.manual_seed(0)
    model = create_segface("mobilenet", head, SIDE, pretrained="none")
    return model, torch.randn(2, 3, SIDE, SIDE), torch.randint(0, 11, (2, SIDE, SIDE))


def test_outputs_do_not_depend_on_the_strips(strips, monkeypatch):
    model, images, _ = model_and_batch()
    model.eval()
    with torch.no_grad():
        logits = model(images)
        in_one_go(monkeypatch)
        torch.testing.assert_close(logits, model(images), rtol=1e-4, atol=1e-4)


def test_gradients_do_not_depend_on_the_strips(strips, monkeypatch):
    model, images, labels = model_and_batch()

    def gradients():
        model.zero_grad()
        segface_loss(model(images), labels)[0].backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    found = gradients()
    in_one_go(monkeypatch)
    for name, gradient in gradients().items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_training_in_strips_remembers_less(monkeypatch):
    monkeypatch.setattr("network.strips.TOKENS_AT_ONCE", 128)
    model, images, _ = model_and_batch()
    maps = [level.detach() for level in model.encoder(images)]

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def remembered():
        tensors = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: tensors.append(t) or t, lambda t: t):
            logits = model.decode(maps)
        sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        assert logits.requires_grad
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    in_many_strips = remembered()
    monkeypatch.setattr("network.strips.FEW_STRIPS", 8)
    in_few_strips = remembered()
    in_one_go(monkeypatch)
    assert in_many_strips < 0.5 * in_few_strips
    assert in_few_strips < 1.2 * remembered()


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("height", [1, 3, 8, 32])
def test_rows_are_those_of_the_whole_map(scale, height):
    level = torch.randn(2, 32 // scale, 24 // scale, 5)
    whole = torch.nn.functional.interpolate(level.permute(0, 3, 1, 2), (32, 24), mode="bilinear").permute(0, 2, 3, 1)
    for top in range(0, 32, height):
        rows = slice(top, min(top + height, 32))
        torch.testing.assert_close(rows_of_raised(level, rows, (32, 24)), whole[:, rows])


def test_fusion_leaves_its_maps_as_they_are(strips):
    maps = [torch.randn(1, 8, 32 // s, 32 // s) for s in (1, 2, 4, 8)]
    copies = [level.clone() for level in maps]
    with torch.no_grad():
        MLPFusion((8, 8, 8, 8), 16)(maps)
    assert all(map(torch.equal, maps, copies))
