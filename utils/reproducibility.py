"""Seeds, and settings that make a run repeatable on the same hardware."""

import os

import torch

from utils.memory import keep_freed_memory


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A seed of its own for each epoch and rank, so that a resumed run draws what the first would have drawn."""
    return ((seed * 1_000_003 + epoch) * 65_537 + rank) % 2**63


def set_arithmetic(device: torch.device, deterministic: bool, tf32: bool | None = None) -> None:
    """Settings of the process before the first computation.

    On a CPU denormal numbers, slow and worthless here, become zero, and freed memory is kept. On a GPU
    ``deterministic`` picks algorithms whose result does not change from run to run, where CUDA has one; PyTorch warns
    where it has none. ``tf32`` allows products of float32 numbers with 10 bits of mantissa, forbids them, or leaves
    them as PyTorch has them.
    """
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        keep_freed_memory()
    if tf32 is not None:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    if device.type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
