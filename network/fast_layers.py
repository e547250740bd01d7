"""timm's layers with the arithmetic of network/products.py: the same parameters, names and results."""

import torch
from timm.layers import GELU, Mlp
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual
from timm.models.convnext import ConvNeXtBlock
from torch import nn

from network.fast_convolutions import FastConvBnAct, FastDepthwiseSeparableConv, FastInvertedResidual
from network.products import linear, may_fuse

ROWS_AT_ONCE = 4096  # of an MLP in inference on a CPU: its hidden layer stays in the processor's cache


def with_fast_layers(body: nn.Module) -> nn.Module:
    """Give the layers of a timm model, in place, the classes below. Returns the same ``body``."""
    faster = {
        nn.Linear: FastLinear,
        Mlp: FastMlp,
        ConvNeXtBlock: FastConvNeXtBlock,
        ConvBnAct: FastConvBnAct,
        DepthwiseSeparableConv: FastDepthwiseSeparableConv,
        InvertedResidual: FastInvertedResidual,
    }
    for module in body.modules():
        module.__class__ = faster.get(type(module), type(module))
    return body


class FastLinear(nn.Linear):
    """A linear layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


class FastMlp(Mlp):
    """Two linear layers with GELU between them; in inference on a CPU in one pass over some rows at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_gelu = type(self.act) is GELU or (type(self.act) is nn.GELU and self.act.approximate == "none")
        is_plain = is_gelu and type(self.norm) is nn.Identity and type(self.fc1) is FastLinear
        if not is_plain or not may_fuse(self, x):
            return super().forward(x)
        hidden = (linear(rows, self.fc1.weight, self.fc1.bias, "gelu") for rows in x.flatten(0, -2).split(ROWS_AT_ONCE))
        return torch.cat([self.fc2(rows) for rows in hidden]).unflatten(0, x.shape[:-1])


class FastConvNeXtBlock(ConvNeXtBlock):
    """Depthwise convolution, norm and MLP; in inference on a CPU with scale and residual in one pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_plain = self.gamma is not None and not self.use_conv_mlp
        if not is_plain or not may_fuse(self, x):
            return super().forward(x)
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return torch.addcmul(self.shortcut(x), y, self.gamma[:, None, None])
