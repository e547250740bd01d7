"""Blocks of convolutions whose norms are folded into them."""

import pytest
import torch
from torch import nn

from network import create_segface
from network.fast_convolutions import FastBlock, conv_norm_act


@pytest.fixture(params=["mobilenet", "efficientnet"])
def encoder(request):
    """An encoder whose norms have seen something, each block's output kept small."""
    torch.manual_seed(0)
    encoder = create_segface(request.param, "segface_celeb", 64, pretrained="none").encoder
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.3, 0.7)
            nn.init.normal_(norm.bias, std=0.2)
    return encoder.eval()


@pytest.fixture
def folded(monkeypatch):
    """The convolutions that had a norm folded into them."""
    convolutions = []

    def watched(x, conv, norm):
        convolutions.append(conv)
        return conv_norm_act(x, conv, norm)

    monkeypatch.setattr("network.fast_convolutions.conv_norm_act", watched)
    return convolutions


def test_folded_norms_change_nothing(encoder, folded):
    images = torch.randn(2, 3, 64, 64)
    inputs = {}
    for name, module in encoder.named_modules():
        if isinstance(module, FastBlock):
            module.register_forward_hook(lambda _, x, y, name=name: inputs.update({name: (x[0].clone(), y.clone())}))
    with torch.inference_mode():
        encoder(images)
    blocks = [module for module in encoder.modules() if isinstance(module, FastBlock)]
    assert len(folded) == sum(len(block.pairs) for block in blocks) > 20
    assert len(inputs) == len(blocks)
    double = encoder.double()
    for name, (x, y) in inputs.items():
        block = double.get_submodule(name)
        block._forward_hooks.clear()
        expected = block(x.double())
        assert (y - expected).norm() <= 1e-6 * expected.norm()


def test_norms_are_not_folded_with_gradients_or_in_training_or_where_onednn_is_forbidden(encoder, folded):
    images = torch.randn(2, 3, 64, 64)
    encoder(images)
    with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=False):
        encoder(images)
    with torch.inference_mode():
        encoder.double()(images.double())
        encoder.float().train()(images)
    assert not folded


@pytest.mark.parametrize("what", ["weight", "bias", "running_mean", "running_var"])
def test_a_change_of_any_statistic_counts_at_once(what, encoder):
    images = torch.randn(1, 3, 64, 64)
    norm = next(block for block in encoder.modules() if isinstance(block, FastBlock)).bn1
    with torch.inference_mode():
        before = encoder(images)[0]
        getattr(norm, what).data.mul_(2)
        after = encoder(images)[0]
    assert not torch.allclose(before, after, rtol=1e-3)


def test_blocks_of_other_kinds_are_left_alone(encoder, folded):
    block = next(block for block in encoder.modules() if isinstance(block, FastBlock))
    conv, norm = (getattr(block, name) for name in block.pairs[0])
    norm.act = nn.Tanh()
    x = torch.randn(1, conv.in_channels, 16, 16)
    with torch.inference_mode():
        y = block(x)
    assert not folded
    torch.testing.assert_close(y, block(x))
