"""The SegFace decoder: class tokens, two-way transformer, mask head (paper, section 3.3).

The transformer is that of segment-anything's mask decoder, with one learned token for each class.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from network.attention import Attention, FaceToTokens, TokensToFace
from network.kept import Kept
from network.products import linear
from network.strips import in_strips, instead


class PositionEncoding(nn.Module):
    """Random Fourier features of the grid's cell centres (Tancik et al., NeurIPS 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("gaussian_matrix", torch.randn(2, dim // 2))
        self.kept = Kept()

    def forward(self, height: int, width: int) -> torch.Tensor:
        """Encoding (H*W, dim) of a grid, row by row."""
        return self.kept.get(self, lambda: self.encode(height, width), [self.gaussian_matrix], height, width)

    def encode(self, height: int, width: int) -> torch.Tensor:
        matrix = self.gaussian_matrix
        y = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height * 2 - 1  # (H,)
        x = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width * 2 - 1  # (W,)
        # Written out, not as a matrix product, which autocast would round to half precision.
        angles = x[None, :, None] * matrix[0] + y[:, None, None] * matrix[1]  # (H, W, dim/2)
        angles = 2 * math.pi * angles.flatten(0, 1)  # (H*W, dim/2)
        return torch.cat([angles.sin(), angles.cos()], -1)


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
        self.kept = Kept()
        self.self_attn = Attention(dim, dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = TokensToFace(dim, dim // 2, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = FaceToTokens(dim, dim // 2, heads)
        self.norm4 = nn.LayerNorm(dim)

    def look_at_each_other(self, t: torch.Tensor, t0: torch.Tensor) -> torch.Tensor:
        """Self-attention of tokens (B, K, dim) with their position encoding t0."""
        if not self.first:
            return self.norm1(t + self.self_attn(q=t + t0, k=t + t0, v=t))
        learned = t[:1]  # the same for every picture
        sources = [learned, *self.self_attn.parameters(), *self.norm1.parameters()]
        return self.kept.get(
            self, lambda: self.norm1(self.self_attn(q=learned, k=learned, v=learned)), sources
        ).expand_as(t)

    def think(self, t: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """What tokens (B, K, dim) make of what they have seen of the face."""
        t = self.norm2(t + seen)
        return self.norm3(t + self.mlp(t))

    def tell(self, f: torch.Tensor, fp: torch.Tensor, answers: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """A strip f (B, n, dim) of the face, as fp with grid encoding, after it has looked at the tokens."""
        return self.norm4(self.cross_attn_image_to_token.tell(f, fp, *answers))


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and a last look of the tokens at the face."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, mlp_dim, first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = TokensToFace(dim, dim // 2, heads)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, t0: torch.Tensor, f: Sequence[torch.Tensor], p: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Class tokens t0 (B, K, dim) and strips f (B, n, dim) of a face with grid encoding p (n, dim); both updated.

        Strips meet in the looks of the tokens only. So what a block tells a strip waits until the tokens look next,
        and both are done in one go. Without gradients on a CPU the strips change in place.
        """
        t, tell = t0, None
        for block in self.layers:
            t = block.look_at_each_other(t, t0)
            f, seen = tell_and_look(f, p, tell, block.cross_attn_token_to_image, t + t0)
            t = block.think(t, seen)
            tell = partial(block.tell, answers=block.cross_attn_image_to_token.answers(t, t0))
        f, seen = tell_and_look(f, p, tell, self.final_attn_token_to_image, t + t0)
        return self.norm_final_attn(t + seen), f


def tell_and_look(
    face: Sequence[torch.Tensor],
    p: Sequence[torch.Tensor],
    tell: Callable[..., torch.Tensor] | None,
    attention: TokensToFace,
    tokens: torch.Tensor,
) -> tuple[Sequence[torch.Tensor], torch.Tensor]:
    """The strips after ``tell``, and what ``tokens`` (B, K, dim) then see of them (B, K, dim)."""
    queries = attention.queries(tokens)

    def visit(f: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, ...]:
        f = instead(f, tell(f, f + position)) if tell else f
        return f, *attention.look(f, f + position, *queries)

    visits = in_strips(visit, face, p)
    return [f for f, *_ in visits], attention.conclude([look for _, *look in visits])


class MaskHead(nn.Module):
    """Upscale the face four times; each token becomes a vector whose product with every pixel is the class's logit."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.upscale1 = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(dim // 4, eps=1e-6)
        self.upscale2 = nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim // 8)
        )

    def forward(self, t: torch.Tensor, f: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tokens (B, K, dim) and strips (B, h, W, dim) of the face, H rows in all, to logits (B, K, 4H, 4W)."""
        vectors = self.mlp(t)  # (B, K, dim/8)

        def draw(strip: torch.Tensor) -> torch.Tensor:
            return linear(vectors, self.upscale(strip).flatten(1, 2))  # (B, K, 16 * h * W)

        pixels = [16 * strip.shape[1] * strip.shape[2] for strip in f]
        if torch.is_grad_enabled() or len(f) == 1:
            logits = torch.cat(in_strips(draw, f), -1)  # (B, K, 16 * H * W)
        else:  # each into its place, as fresh memory is slow
            logits = vectors.new_empty(*vectors.shape[:2], sum(pixels))
            for place, strip in zip(logits.split(pixels, -1), f, strict=True):
                place.copy_(draw(strip))
        return logits.unflatten(-1, (-1, 4 * f[0].shape[2]))

    def upscale(self, f: torch.Tensor) -> torch.Tensor:
        """Face (B, H, W, dim) to (B, 4H, 4W, dim/8)."""
        u = linear(f, *as_linear(self.upscale1))  # (B, H, W, 4 * dim/4)
        u = side_by_side(F.gelu(self.norm(u.unflatten(-1, (4, -1)))))  # (B, 2H, 2W, dim/4)
        u = linear(u, *as_linear(self.upscale2), activation="gelu")  # (B, 2H, 2W, 4 * dim/8)
        return side_by_side(u.unflatten(-1, (4, -1)))


def as_linear(conv: nn.ConvTranspose2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (4 * out, in) and bias (4 * out,) that make from one position the 2 x 2 that a transposed conv makes."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def side_by_side(u: torch.Tensor) -> torch.Tensor:
    """Four values (B, H, W, 4, C) at each position, in reading order, to a map (B, 2H, 2W, C)."""
    return u.unflatten(3, (2, 2)).transpose(2, 3).reshape(u.shape[0], 2 * u.shape[1], 2 * u.shape[2], -1)


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

    def forward(self, face: Sequence[torch.Tensor]) -> torch.Tensor:
        """Face tokens in strips (B, h, W, dim), H rows in all, to logits (B, K, 4H, 4W).

        Without gradients on a CPU the strips change in place.
        """
        heights = [strip.shape[1] for strip in face]
        B, _, W, _ = face[0].shape
        t0 = self.class_tokens.expand(B, -1, -1)  # (B, K, dim)
        p = self.position_encoding(sum(heights), W).split([h * W for h in heights])  # (h*W, dim) each
        t, f = self.transformer(t0, [strip.flatten(1, 2) for strip in face], p)  # (B, h*W, dim) each
        return self.mask_head(t, [strip.unflatten(1, (-1, W)) for strip in f])
