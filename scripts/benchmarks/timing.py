"""Taking times in turns, and saying what they mean."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from utils.report import hardware, versions


def machine(device: torch.device) -> dict[str, str]:
    """What a speed depends on."""
    return {"hardware": hardware(device), "cpu": processor(), **versions()}


def processor() -> str:
    """The make of the CPU, and the widest instructions that PyTorch finds there."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name} with {torch.backends.cpu.get_cpu_capability()}"


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes, until the device is done."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each call in each round. They take turns, so that a change of the machine's speed meets all of them.

    Each is called twice before.
    """
    for call in (*calls.values(), *calls.values()):
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(numerators: list[float], denominators: list[float]) -> dict[str, float]:
    """The spread of the quotients, round by round."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def in_words(values: dict[str, float], digits: int) -> str:
    """A median with its spread."""
    median, low, high = (f"{values[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in (header, *rows):
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
