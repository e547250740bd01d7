"""timm's blocks of light convolutions, in inference on a CPU without passes of their own for norms and activations.

There they take longer than the convolutions. In eval mode a batch norm is a scale and a shift of each channel: the
scale goes into the convolution's weights and the shift into its bias, anew for each batch, so that nothing is kept that
could grow stale. oneDNN computes the activation as it writes the map.
"""

import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual
from torch import nn

from network.products import may_fuse

ACTIVATIONS = {nn.Identity: "none", nn.ReLU: "relu", nn.Hardswish: "hardswish", nn.SiLU: "swish"}  # oneDNN's names


class FastBlock(nn.Module):
    """Pairs of a convolution and a norm with its activation; before the last, maybe squeeze and excitation."""

    pairs: tuple[tuple[str, str], ...]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = [(getattr(self, conv), getattr(self, norm)) for conv, norm in self.pairs]
        if not may_fuse(self, x) or not all(can_be_one(*pair) for pair in pairs):
            return super().forward(x)
        y = x
        for pair in pairs[:-1]:
            y = conv_norm_act(y, *pair)
        y = self.se(y) if hasattr(self, "se") else y
        y = conv_norm_act(y, *pairs[-1])
        return y.add_(x) if self.has_skip else y


class FastConvBnAct(FastBlock, ConvBnAct):
    """A convolution."""

    pairs = (("conv", "bn1"),)


class FastDepthwiseSeparableConv(FastBlock, DepthwiseSeparableConv):
    """A depthwise and a pointwise convolution."""

    pairs = (("conv_dw", "bn1"), ("conv_pw", "bn2"))


class FastInvertedResidual(FastBlock, InvertedResidual):
    """A pointwise, a depthwise and a pointwise convolution."""

    pairs = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))


def can_be_one(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the two are of the usual kinds."""
    is_plain = type(conv) is nn.Conv2d and conv.bias is None and not isinstance(conv.padding, str)
    return is_plain and type(norm) is BatchNormAct2d and norm.affine and type(norm.act) in ACTIVATIONS


def conv_norm_act(x: torch.Tensor, conv: nn.Conv2d, norm: BatchNormAct2d) -> torch.Tensor:
    """``norm(conv(x))`` of a map (B, C, H, W), by the running statistics of the norm."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    bias = torch.addcmul(norm.bias, norm.running_mean, scale, value=-1)
    how = (conv.padding, conv.stride, conv.dilation, conv.groups, ACTIVATIONS[type(norm.act)], [], "")
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *how)
