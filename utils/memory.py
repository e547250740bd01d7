"""How much memory a run has needed."""

import resource
import sys

import torch


def reset_peak_memory(device: torch.device) -> None:
    """Measure the peak of a GPU from now on. That of a process on a CPU is of its whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_gb(device: torch.device) -> float:
    """The most that tensors took on a GPU, or this process on a CPU, in GB of 10**9 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
