"""MLP fusion: four feature maps become one map of face tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from network.products import linear
from network.strips import rows_at_once


class MLPFusion(nn.Module):
    """Project four maps to one width, bring them to stride 4, concatenate deepest first and mix (paper, section 3.2).

    Everything here is linear, so the projection of a level and its share of the mixing matrix are composed into one
    matrix, applied before the upsampling, and the levels are summed: the same function and gradients at about a
    third of the arithmetic, and the concatenated map of ``4 * dim`` channels never exists.
    """

    def __init__(self, channels: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(c, dim) for c in channels)
        self.mix = nn.Conv2d(len(channels) * dim, dim, kernel_size=1, bias=False)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps (B, C_i, H / 2**i, W / 2**i), finest first, to face tokens: strips (B, h, W, dim) of H rows."""
        shares = self.mix.weight.flatten(1).chunk(len(maps), dim=1)  # deepest first, each (dim, dim)
        weights = [share @ project.weight for share, project in zip(reversed(shares), self.project, strict=True)]
        bias = sum(share @ project.bias for share, project in zip(reversed(shares), self.project, strict=True))
        finest, *coarser = (level.permute(0, 2, 3, 1) for level in maps)  # (B, H_i, W_i, C_i)
        coarser = [linear(*level) for level in zip(coarser, weights[1:], strict=True)]  # (B, H_i, W_i, dim)
        _, H, W, _ = finest.shape

        def mixed(rows: slice) -> torch.Tensor:
            raised = add(*(rows_of_raised(level, rows, (H, W)) for level in coarser), bias)
            return linear(finest[:, rows], weights[0], residual=raised)  # (B, h, W, dim)

        height = rows_at_once(finest)
        if torch.is_grad_enabled():  # gradients of rows that overlap would cost more than strips save
            return mixed(slice(0, H)).split(height, dim=1)
        return [mixed(slice(top, min(top + height, H))) for top in range(0, H, height)]


def add(first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """The sum; without gradients in the place of the first."""
    for other in others:
        first = first + other if torch.is_grad_enabled() else first.add_(other)
    return first


def rows_of_raised(level: torch.Tensor, rows: slice, size: tuple[int, int]) -> torch.Tensor:
    """Some rows of a map (B, H_i, W_i, dim) after bilinear interpolation to a multiple H, W of its size."""
    scale = size[0] // level.shape[1]
    first = max(0, rows.start // scale - 1)  # with a row more on each side: they take part
    part = level[:, first : -(-rows.stop // scale) + 1]
    raised = F.interpolate(part.permute(0, 3, 1, 2), (scale * part.shape[1], size[1]), mode="bilinear")
    top = rows.start - scale * first
    return raised.permute(0, 2, 3, 1)[:, top : top + rows.stop - rows.start]
