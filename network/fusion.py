"""MLP fusion: four feature maps become one map of face tokens."""

import torch
import torch.nn.functional as F
from torch import nn


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

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps (B, C_i, H / 2**i, W / 2**i), finest first, to face tokens (B, dim, H, W)."""
        shares = self.mix.weight.flatten(1).chunk(len(maps), dim=1)  # deepest first, each (dim, dim)
        size = maps[0].shape[-2:]
        fused = 0
        for project, share, level in zip(self.project, reversed(shares), maps, strict=True):
            mixed = (share @ project.weight) @ level.flatten(2) + (share @ project.bias)[:, None]  # (B, dim, H_i*W_i)
            mixed = mixed.unflatten(2, level.shape[-2:])
            if level.shape[-2:] != size:
                mixed = F.interpolate(mixed, size, mode="bilinear", align_corners=False)
            fused = fused + mixed  # (B, dim, H, W)
        return fused
