"""The SegFace decoder: class tokens, two-way transformer, mask head (paper, section 3.3).

The transformer is that of segment-anything's mask decoder, with one learned token for each class.
"""

import math

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import nn


class PositionEncoding(nn.Module):
    """Random Fourier features of the grid's cell centres (Tancik et al., NeurIPS 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, height: int, width: int) -> torch.Tensor:
        """Encoding (H*W, dim) of a grid, row by row."""
        matrix = self.gaussian_matrix
        y = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height * 2 - 1  # (H,)
        x = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width * 2 - 1  # (W,)
        # Written out, not as a matrix product, which autocast would round to half precision.
        angles = x[None, :, None] * matrix[0] + y[:, None, None] * matrix[1]  # (H, W, dim/2)
        angles = 2 * math.pi * angles.flatten(0, 1)  # (H*W, dim/2)
        return torch.cat([angles.sin(), angles.cos()], -1)


class Attention(nn.Module):
    """Multi-head attention from q (B, Nq, dim) to k, v (B, Nk, dim), projected to ``inner_dim`` and back."""

    def __init__(self, dim: int, inner_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.split_heads(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        attended = F.scaled_dot_product_attention(q, k, v)  # (B, heads, Nq, inner/heads)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # (B, Nq, dim)

    def split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers with ReLU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayBlock(nn.Module):
    """Tokens look at each other and at the face, think, and the face looks at the tokens.

    The first block of a stack has no position term and no residual in its self-attention.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, dim // 2, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, dim // 2, heads)
        self.norm4 = nn.LayerNorm(dim)

    def forward(
        self, t: torch.Tensor, f: torch.Tensor, t0: torch.Tensor, p: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens t (B, K, dim) and face f (B, N, dim) with their position encodings t0 and p."""
        if self.first:
            t = self.norm1(self.self_attn(q=t, k=t, v=t))
        else:
            t = self.norm1(t + self.self_attn(q=t + t0, k=t + t0, v=t))
        t = self.norm2(t + self.cross_attn_token_to_image(q=t + t0, k=f + p, v=f))
        t = self.norm3(t + self.mlp(t))
        f = self.norm4(f + self.cross_attn_image_to_token(q=f + p, k=t + t0, v=t))
        return t, f


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and a last look of the tokens at the face."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, mlp_dim, first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(dim, dim // 2, heads)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, t0: torch.Tensor, f: torch.Tensor, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class tokens t0 (B, K, dim) and face tokens f (B, N, dim) with grid encoding p (N, dim); both updated."""
        t = t0
        for block in self.layers:
            t, f = block(t, f, t0, p)
        t = self.norm_final_attn(t + self.final_attn_token_to_image(q=t + t0, k=f + p, v=f))
        return t, f


class MaskHead(nn.Module):
    """Upscale the face four times; each token becomes a vector whose product with every pixel is the class's logit."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.upscale1 = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.norm = LayerNorm2d(dim // 4, eps=1e-6)
        self.upscale2 = nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim // 8)
        )

    def forward(self, t: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        """Tokens (B, K, dim) and face (B, dim, H, W) to logits (B, K, 4H, 4W)."""
        u = F.gelu(self.norm(self.upscale1(f)))  # (B, dim/4, 2H, 2W)
        u = F.gelu(self.upscale2(u))  # (B, dim/8, 4H, 4W)
        return (self.mlp(t) @ u.flatten(2)).unflatten(2, u.shape[-2:])


class FaceDecoder(nn.Module):
    """Class tokens and face tokens through the transformer and the mask head."""

    def __init__(
        self, num_classes: int, dim: int, position_encoding: nn.Module, transformer: nn.Module, mask_head: nn.Module
    ) -> None:
        super().__init__()
        self.class_tokens = nn.Parameter(torch.randn(num_classes, dim))
        self.position_encoding = position_encoding
        self.transformer = transformer
        self.mask_head = mask_head

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        """Face tokens (B, dim, H, W) to logits (B, K, 4H, 4W)."""
        B, _, H, W = face.shape
        t0 = self.class_tokens.expand(B, -1, -1)  # (B, K, dim)
        p = self.position_encoding(H, W)  # (H*W, dim)
        f = face.flatten(2).mT  # (B, H*W, dim)
        t, f = self.transformer(t0, f, p)
        return self.mask_head(t, f.mT.unflatten(2, (H, W)))
