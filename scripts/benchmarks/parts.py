"""What each part of the model computes and moves, and how far that is from what the machine can do."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from network import SegFace
from network.products import linear
from scripts.benchmarks.model import contestants
from scripts.benchmarks.timing import in_turns, spread, table

SIDE = 2048  # of the matrices for the machine's rate
COPIED = 2**26  # bytes of the tensor that is copied for the machine's bandwidth


class Traffic(TorchDispatchMode):
    """Counts the bytes of what operators read and write, as if nothing stayed in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return result


def parts(model: SegFace, images: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """The parts of a forward pass, each to be called with what it gets there."""
    modules = {
        "encoder": model.encoder,
        "fusion": model.fusion,
        "transformer": model.decoder.transformer,
        "mask head": model.decoder.mask_head,
    }
    calls: dict[str, Callable[[], Any]] = {}

    def remember(name: str, module: nn.Module, inputs: tuple) -> None:
        calls[name] = partial(module, *inputs)

    hooks = [module.register_forward_pre_hook(partial(remember, name)) for name, module in modules.items()]
    model(images)
    for hook in hooks:
        hook.remove()
    return calls | {"whole model": partial(model, images)}


@torch.inference_mode()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Print arithmetic, traffic, time, and the rates that follow, for each part with one image."""
    args = argparse.Namespace(**vars(args), amp="off", compile=False, channels_last=False)
    images = torch.randn(1, 3, args.resolution, args.resolution, device=args.device)
    calls = parts(contestants(args, args.model)["ours"].network, images)
    operations, traffic = {}, {}
    for name, call in calls.items():
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            call()  # not by oneDNN, whose operators are not counted
        operations[name] = counter.get_total_flops()
        with Traffic() as count:
            call()
        traffic[name] = count.bytes

    a, b = torch.randn(2, SIDE, SIDE, device=args.device)
    source = torch.zeros(COPIED, dtype=torch.uint8, device=args.device)
    target = source.clone()
    machine = {
        "product": lambda: linear(a, b),
        "PyTorch's product": lambda: torch.mm(a, b.T),
        "copy": lambda: target.copy_(source),
    }
    times = {name: spread(t)["median"] for name, t in in_turns(calls | machine, args.repeat, args.device).items()}
    rate, library_rate = (2 * SIDE**3 / times[name] for name in ("product", "PyTorch's product"))
    bandwidth = 2 * COPIED / times["copy"]
    print(f"{args.model}, {args.resolution} px, one image; median of {args.repeat} rounds")
    print(
        f"machine: products of float32 matrices of {SIDE} x {SIDE} at {rate / 1e9:.0f} GFLOP/s by network/products.py "
        f"({library_rate / 1e9:.0f} by torch.mm), copies of {COPIED / 1e6:.0f} MB at {bandwidth / 1e9:.1f} GB/s"
    )
    results = {
        name: {
            "seconds": times[name],
            "operations": operations[name],
            "bytes": traffic[name],
            "part_of_product_rate": operations[name] / times[name] / rate,
            "part_of_bandwidth": traffic[name] / times[name] / bandwidth,
        }
        for name in calls
    }
    rows = [
        (
            name,
            f"{result['operations'] / 1e9:.2f}",
            f"{result['bytes'] / 1e6:.0f}",
            f"{1000 * result['seconds']:.1f}",
            f"{result['part_of_product_rate']:.0%}",
            f"{result['part_of_bandwidth']:.0%}",
        )
        for name, result in results.items()
    ]
    print(table(("", "GFLOP", "MB", "ms", "of the product rate", "of the bandwidth"), rows))
    return {"model": args.model, "product_rate": rate, "bandwidth": bandwidth, "parts": results}
