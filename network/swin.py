"""Swin window attention in torchvision's order: pad first, roll after."""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import nn


def pad_before_roll(body: nn.Module) -> nn.Module:
    """Make every Swin block of a timm model pad its map before the cyclic shift.

    timm rolls first and pads after, which changes the features by 5-20 % wherever a stage's side is no multiple
    of the window. ImageNet weights of torchvision and the published SegFace weights need the padded order.
    Parameters and their names stay as timm made them. Returns the same ``body``.
    """
    for block in body.modules():
        if isinstance(block, SwinTransformerBlock):
            block.__class__ = PadFirstBlock
        elif isinstance(block, SwinTransformerV2Block):
            block.__class__ = PadFirstBlockV2
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
        mask = shift_mask((Hp, Wp), (wh, ww), (sh, sw), x)
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
