"""Work in strips of the face: on a CPU some rows at a time, so that what is made of them stays in its cache.

In training the strips of a large face are computed once more for its gradients, so that what is made of them need not
be remembered.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from network.products import is_for_onednn

TOKENS_AT_ONCE = 2048
FEW_STRIPS = 4  # of a face that is small enough for remembering all of it


def rows_at_once(face: torch.Tensor) -> int:
    """How many rows of a map (B, H, W, C) make a strip: all, but on a CPU."""
    _, H, W, _ = face.shape
    return max(1, TOKENS_AT_ONCE // W) if is_for_onednn(face) else H


def one_by_one(finest: torch.Tensor) -> bool:
    """Whether the pictures of a batch with finest maps (B, C, H, W) go through the decoder one after the other."""
    return is_for_onednn(finest) and len(finest) > 1 and finest[0, 0].numel() > TOKENS_AT_ONCE


def in_strips(function: Callable, *strips: Sequence[torch.Tensor]) -> list[Any]:
    """``function`` of each strip; of many in training on a CPU without remembering what is in between."""
    forgetful = torch.is_grad_enabled() and len(strips[0]) > FEW_STRIPS and is_for_onednn(strips[0][0])
    call = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False) if forgetful else function
    return [call(*strip) for strip in zip(*strips, strict=True)]


def instead(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """A new strip for an old one that nobody wants any more: without gradients on a CPU in its memory."""
    return new if torch.is_grad_enabled() or not is_for_onednn(old) else old.copy_(new)
