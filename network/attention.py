"""Attention among class tokens, and between these few and the many tokens of a face (paper, section 3.3)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from network.products import linear


class Attention(nn.Module):
    """Multi-head attention from q (B, Nq, dim) to k, v (B, Nk, dim), projected to ``inner_dim`` and back."""

    def __init__(self, dim: int, inner_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = inner_dim // heads
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

    def split_weight(self, projection: nn.Linear) -> torch.Tensor:
        """Weight (heads, inner_dim/heads, dim) of one of the three projections to ``inner_dim``."""
        return projection.weight.unflatten(0, (self.heads, -1))


class TokensToFace(Attention):
    """Attention from a few tokens to the many positions of a face, which may come in several strips.

    Only the tokens are projected, forth and back, for each head: ``q . (W f) = (W^T q) . f``, and the values' matrix
    may follow their weighted sum. So keys and values of the face need not exist, at no more arithmetic than they take.
    """

    def queries(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What tokens (B, K, dim) ask: vectors (B, heads*K, dim), and biases (B, heads*K, 1) of their scores."""
        q = self.split_heads(self.q_proj(t)) / math.sqrt(self.head_dim)  # (B, heads, K, inner/heads)
        bias = q @ self.k_proj.bias.view(self.heads, -1, 1)  # (B, heads, K, 1)
        return (q @ self.split_weight(self.k_proj)).flatten(1, 2), bias.flatten(1, 2)

    def look(
        self, f: torch.Tensor, fp: torch.Tensor, vectors: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What ``queries`` see of a strip f (B, n, dim), as fp with grid encoding: softmax before its division.

        Returns the weighted sum of positions (B, heads*K, dim), the sum of weights (B, heads*K, 1), and the highest
        score (B, heads*K, 1), which the others were taken relative to.
        """
        scores = linear(vectors, fp)  # (B, heads*K, n)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))  # sums over all positions need the digits
        highest = scores.detach().amax(-1, keepdim=True)
        if torch.is_grad_enabled():  # the bias is the same at all positions: softmax does not see it, its gradient is 0
            weights = (scores + bias - (highest + bias).detach()).exp()
        else:
            # By the power of 2: on a CPU the other takes twenty times as long where it comes to nearly nothing.
            weights = scores.sub_(highest).mul_(math.log2(math.e)).exp2_()
        return linear(weights.to(f.dtype), f.mT), weights.sum(-1, keepdim=True), highest

    def conclude(self, looks: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """The result (B, K, dim) of ``look`` at all strips of a face."""
        seen, sums, highest = (torch.stack(parts) for parts in zip(*looks, strict=True))
        scale = (highest - highest.amax(0)).exp()  # (strips, B, heads*K, 1)
        seen = (scale * seen).sum(0) / (scale * sums).sum(0)  # (B, heads*K, dim)
        back = self.split_weight(self.v_proj).mT  # (heads, dim, inner/heads)
        attended = seen.to(back.dtype).unflatten(1, (self.heads, -1)) @ back  # (B, heads, K, inner/heads)
        return self.out_proj(attended.transpose(1, 2).flatten(2) + self.v_proj.bias)


class FaceToTokens(Attention):
    """Attention from the many positions of a face to a few tokens, computed as TokensToFace is."""

    def answers(self, t: torch.Tensor, t0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys (B, heads*K, dim), their biases (B, heads*K), and values (B, heads*K, dim) of tokens (B, K, dim)."""
        k = self.split_heads(self.k_proj(t + t0)) / math.sqrt(self.head_dim)  # (B, heads, K, inner/heads)
        keys = (k @ self.split_weight(self.q_proj)).flatten(1, 2)
        bias = (k @ self.q_proj.bias.view(self.heads, -1, 1)).flatten(1)
        back = self.out_proj.weight.unflatten(1, (self.heads, -1)).permute(1, 2, 0)  # (heads, inner/heads, dim)
        return keys, bias, (self.split_heads(self.v_proj(t)) @ back).flatten(1, 2)

    def tell(
        self, f: torch.Tensor, fp: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """A strip f (B, n, dim), as fp with grid encoding, and what it gets from ``answers``: their sum (B, n, dim)."""
        scores = linear(fp, keys, bias).unflatten(-1, (self.heads, -1))  # (B, n, heads, K)
        return linear(scores.softmax(-1).flatten(2), values.mT, self.out_proj.bias, residual=f)
