"""Whatever happens to a model, what it kept of its old self must not show in its outputs."""

import copy

import pytest
import torch
from torch import nn

from network import create_segface

SIDE = 64


def in_place(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)


def through_data(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.5)


def one_number_through_data(model):
    for parameter in model.parameters():
        parameter.data.view(-1)[-1] += 1


def other_data(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.5


def other_parameters(model):
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach() * 1.5))


def buffers(model):
    model.decoder.position_encoding.gaussian_matrix.mul_(1.5)


def state_dict(model):
    model.load_state_dict({k: v * 1.5 if v.is_floating_point() else v for k, v in model.state_dict().items()})


def assigned_state_dict(model):
    state = {k: v * 1.5 if v.is_floating_point() else v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def training_step(model):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(2, 3, SIDE, SIDE)).square().mean().backward()
    optimizer.step()
    model.eval()


def step_in_eval_mode(model):
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    model(torch.randn(1, 3, SIDE, SIDE)).square().mean().backward()
    optimizer.step()


def precision(model):
    model.double()


def there_and_back(model):
    model.double()
    through_data(model)
    model.float()


CHANGES = [
    in_place, through_data, one_number_through_data, other_data, other_parameters, buffers, state_dict,
    assigned_state_dict, training_step, step_in_eval_mode, precision, there_and_back,
]  # fmt: skip


def random_model(name="swinv2_tiny"):
    torch.manual_seed(0)
    model = create_segface(name, "segface_celeb", SIDE, pretrained="none").eval()
    for parameter in model.parameters():
        if parameter.ndim <= 1:
            nn.init.normal_(parameter, std=0.1)
    return model


def parse(model, images):
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return model(images.to(dtype))


def assert_as_new(model, images):
    """The outputs are those of a model that never kept anything."""
    torch.testing.assert_close(parse(model, images), parse(copy.deepcopy(model), images), rtol=0, atol=0)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_change_of_the_model_is_noticed(change):
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    before = parse(model, images)
    change(model)
    assert_as_new(model, images)
    if change is not precision:
        assert not torch.allclose(parse(model, images).float(), before, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("change", [through_data, state_dict], ids=lambda change: change.__name__)
def test_change_of_swin_is_noticed(change):
    model, images = random_model("swin_base"), torch.randn(1, 3, SIDE, SIDE)
    parse(model, images)
    change(model)
    assert_as_new(model, images)


def test_each_size_has_its_own():
    model = random_model()
    for sides in ((64, 64), (96, 64), (64, 96), (64, 64)):
        assert_as_new(model, torch.randn(1, 3, *sides))


def test_inference_mode_and_no_grad_may_alternate():
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        first = model(images)
    second = parse(model, images)
    model(images).mean().backward()
    with torch.inference_mode():
        third = model(images)
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    assert model.decoder.class_tokens.grad is not None


def test_autocast_has_its_own():
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    before = parse(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        half = parse(model, images)
        assert torch.equal(half, parse(copy.deepcopy(model), images))
    assert torch.equal(before, parse(model, images))


def test_functional_call_sees_the_weights_it_is_given():
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    parse(model, images)
    weights = {name: 1.5 * value.detach() for name, value in model.named_parameters()}
    with torch.no_grad():
        called = torch.func.functional_call(model, weights, images)
    in_place(model)
    torch.testing.assert_close(called, parse(model, images))


def test_what_is_kept_is_used_and_dropped_by_train_and_eval():
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    kept = model.decoder.position_encoding.kept
    assert kept.content is None
    parse(model, images)
    value = kept.content[-1]
    parse(model, images)
    assert kept.content[-1] is value
    for mode in (True, False):
        model.train(mode)
        assert kept.content is None
        parse(model, images)
    assert kept.content is not None
    model.double()
    assert kept.content is None


def test_what_is_kept_is_no_part_of_the_weights(tmp_path):
    model, images = random_model(), torch.randn(1, 3, SIDE, SIDE)
    names = set(model.state_dict())
    parse(model, images)
    assert set(model.state_dict()) == names
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert again.decoder.position_encoding.kept.content is None
    assert torch.equal(parse(again, images), parse(model, images))
