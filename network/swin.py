"""Swin window attention in torchvision's order, pad first and roll after, with its tables and masks kept."""

import math

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.swin_transformer_v2 import WindowAttention as WindowAttentionV2
from torch import nn

from network.kept import Kept
from network.products import linear


def pad_before_roll(body: nn.Module) -> nn.Module:
    """Make every Swin block of a timm model pad its map before the cyclic shift.

    timm rolls first and pads after, which changes the features by 5-20 % wherever a stage's side is no multiple
    of the window. ImageNet weights of torchvision and the published SegFace weights need the padded order.
    Parameters and their names stay as timm made them. Returns the same ``body``.
    """
    for block in body.modules():
        if isinstance(block, SwinTransformerBlock | SwinTransformerV2Block):
            is_first = isinstance(block, SwinTransformerBlock)
            block.__class__ = PadFirstBlock if is_first else PadFirstBlockV2
            block.attn.__class__ = KeptBiasAttention if is_first else KeptBiasAttentionV2
            block.kept_mask, block.attn.kept_bias = Kept(), Kept()
    return body


def shifted_window_attention(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Window attention of one Swin block on a map (B, H, W, C) of any size; returns the same shape."""
    _, H, W, C = x.shape
    wh, ww = block.window_size
    x = F.pad(x, (0, 0, 0, -W % ww, 0, -H % wh))  # (B, Hp, Wp, C)
    Hp, Wp = x.shape[1:3]
    # A window that spans the whole padded side has nothing to exchange with a neighbour.
    sh = block.target_shift_size[0] if wh < Hp else 0
    sw = block.target_shift_size[1] if ww < Wp else 0

    mask = None
    if sh or sw:
        x = torch.roll(x, shifts=(-sh, -sw), dims=(1, 2))
        sizes = ((Hp, Wp), (wh, ww), (sh, sw))
        mask = block.kept_mask.get(block, lambda: shift_mask(*sizes, like=x), [], sizes, x.dtype, x.device)
    windows = x.unflatten(1, (-1, wh)).unflatten(3, (-1, ww)).transpose(2, 3)  # (B, Hp/wh, Wp/ww, wh, ww, C)
    attended = block.attn(windows.reshape(-1, wh * ww, C), mask=mask)  # (B*nW, wh*ww, C)
    x = attended.view(windows.shape).transpose(2, 3).reshape(-1, Hp, Wp, C)
    if sh or sw:
        x = torch.roll(x, shifts=(sh, sw), dims=(1, 2))
    return x[:, :H, :W].contiguous()


def shift_mask(
    size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], like: torch.Tensor
) -> torch.Tensor:
    """Mask (nW, N, N) with -100 between positions of a window that the shift brought together from far apart."""

    def regions(length: int, window: int, shift: int) -> torch.Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - window).int() + (position >= length - shift).int()  # 0, 1 or 2

    rows, columns = (regions(*axis) for axis in zip(size, window, shift, strict=True))
    region = 3 * rows[:, None] + columns  # (Hp, Wp)
    region = region.unflatten(0, (-1, window[0])).unflatten(2, (-1, window[1])).transpose(1, 2)
    region = region.reshape(-1, window[0] * window[1])  # (nW, N)
    return -100.0 * (region[:, None] != region[:, :, None]).to(like.dtype)


class PadFirstBlock(SwinTransformerBlock):
    """timm's Swin block with torchvision's order of padding and rolling."""

    def _attn(self, x: torch.Tensor) -> torch.Tensor:
        return shifted_window_attention(self, x)


class PadFirstBlockV2(SwinTransformerV2Block):
    """timm's Swin V2 block with torchvision's order of padding and rolling."""

    def _attn(self, x: torch.Tensor) -> torch.Tensor:
        return shifted_window_attention(self, x)


class KeptBiasAttention(WindowAttention):
    """timm's window attention, with the bias of relative positions kept."""

    def _get_rel_pos_bias(self) -> torch.Tensor:
        return self.kept_bias.get(self, super()._get_rel_pos_bias, [self.relative_position_bias_table])


class KeptBiasAttentionV2(WindowAttentionV2):
    """timm's cosine window attention, with the bias of relative positions kept and PyTorch's fused product."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Windows (B*nW, N, C) and a mask (nW, N, N), if any; returns (B*nW, N, C)."""
        bias = torch.cat([self.q_bias, self.k_bias, self.v_bias])
        qkv = linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B*nW, heads, N, C/heads)
        scale = self.logit_scale.clamp(max=math.log(100)).exp()
        mask_and_bias = self.kept_bias.get(self, self.position_bias, [*self.cpb_mlp.parameters()])
        if mask is not None:
            mask_and_bias = (mask_and_bias + mask[:, None]).repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        q, k = F.normalize(q, dim=-1) * scale, F.normalize(k, dim=-1)
        drop = self.attn_drop.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_and_bias, dropout_p=drop, scale=1.0)
        return self.proj_drop(self.proj(attended.transpose(1, 2).flatten(2)))

    def position_bias(self) -> torch.Tensor:
        """Bias (1, heads, N, N) of the scores of a window's positions."""
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        bias = table[self.relative_position_index].permute(2, 0, 1)  # (heads, N, N)
        return 16 * torch.sigmoid(bias)[None]
