"""Work in strips of the face: on a CPU some rows at a time, so that what is made of them stays in its cache.

In training a strip is computed once more for its gradients, so that what is made of it need not be remembered.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from network.products import is_for_onednn

TOKENS_AT_ONCE = 2048
FEW_TOKENS = 1024  # fewer are worked on in one go, where many small steps would take longer


def rows_at_once(face: torch.Tensor) -> int:
    """How many rows of a map (B, H, W, C) make a strip: all, but on a CPU."""
    _, H, W, _ = face.shape
    return max(1, TOKENS_AT_ONCE // W) if is_for_onednn(face) else H


def one_by_one(finest: torch.Tensor) -> bool:
    """Whether the pictures of a batch with finest maps (B, C, H, W) go through the decoder one after the other."""
    return len(finest) > 1 and finest[0, 0].numel() >= FEW_TOKENS and is_for_onednn(finest)


def work_on(function: Callable, strip: torch.Tensor, *others: Any) -> Any:
    """``function(strip, *others)``, in training on a CPU without remembering what is in between."""
    if torch.is_grad_enabled() and strip[..., 0].numel() >= FEW_TOKENS and is_for_onednn(strip):
        return checkpoint(function, strip, *others, use_reentrant=False, preserve_rng_state=False)
    return function(strip, *others)


def instead(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """A new strip for an old one that nobody wants any more: without gradients on a CPU in its memory."""
    return new if torch.is_grad_enabled() or not is_for_onednn(old) else old.copy_(new)
