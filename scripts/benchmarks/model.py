"""The model beside the plain one of tests/plain_segface.py: the same weights and inputs, in turns."""

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from network import HEADS, create_segface, load_weights
from scripts.benchmarks.timing import in_turns, in_words, ratios, spread, table
from tests.plain_segface import PlainSegFace, plain_loss
from utils.losses import segface_loss
from utils.memory import peak_memory_gb, reset_peak_memory
from utils.precision import Precision, compiled

HEAD = "segface_celeb"
CLASSES = HEADS[HEAD].class_names
HEADER = ("", "batch", "plain, ms", "ours, ms", "times as fast", "images/s", "plain, GB", "ours, GB")


@dataclass
class Contestant:
    """A model and how it is to be used."""

    network: nn.Module
    forward: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def plain_contestant(args: argparse.Namespace, model: str) -> Contestant:
    """The plain model with random weights, in eval mode."""
    torch.manual_seed(0)
    plain = PlainSegFace(model, CLASSES, HEADS[HEAD].warp)
    for name, weight in plain.named_parameters():
        if weight.ndim <= 1:  # a bias of zero would make much of the arithmetic one with zeros
            nn.init.normal_(weight, mean=float(name.endswith("weight")), std=0.1)
    plain.to(args.device).eval()
    return Contestant(plain, plain, plain_loss)


def our_contestant(args: argparse.Namespace, model: str, cuda_graphs: bool = False) -> Contestant:
    """The repository's model with random weights, in eval mode."""
    precision = Precision(args.device, args.amp, args.channels_last)
    ours = create_segface(model, HEAD, args.resolution, pretrained="none")
    ours.to(args.device, memory_format=precision.memory_format).eval()
    quick = compiled(ours, args.device, cuda_graphs) if args.compile else ours

    def forward(images: torch.Tensor) -> torch.Tensor:
        with precision.autocast():
            return quick(images.contiguous(memory_format=precision.memory_format))

    return Contestant(ours, forward, lambda logits, labels: segface_loss(logits, labels)[0])


def contestants(args: argparse.Namespace, model: str, cuda_graphs: bool = False) -> dict[str, Contestant]:
    """Both models with the same weights."""
    plain, ours = plain_contestant(args, model), our_contestant(args, model, cuda_graphs)
    load_weights(ours.network, plain.network.state_dict())
    return {"plain": plain, "ours": ours}


def inference_call(args: argparse.Namespace, contestant: Contestant, batch: int) -> Callable[[], torch.Tensor]:
    """The forward pass without gradients, on a batch."""
    images, _ = batch_of(args, batch)
    return torch.inference_mode()(partial(contestant.forward, images))


def training_call(args: argparse.Namespace, contestant: Contestant, batch: int) -> Callable[[], None]:
    """A training step on a batch: forward, loss, backward and AdamW."""
    images, labels = batch_of(args, batch)
    parameters = contestant.network.train().parameters()
    optimizer = torch.optim.AdamW(parameters, 1e-4, fused=args.device.type == "cuda")

    def step() -> None:
        optimizer.zero_grad()
        contestant.loss(contestant.forward(images), labels).backward()
        optimizer.step()

    return step


def batch_of(args: argparse.Namespace, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images and labels, the same each time."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, args.resolution, args.resolution, generator=generator)
    labels = torch.randint(len(CLASSES), (size, args.resolution, args.resolution), generator=generator)
    return images.to(args.device), labels.to(args.device)


CONTESTANTS = {"plain": plain_contestant, "ours": our_contestant}
CALLS = {"forward": inference_call, "training": training_call}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure each encoder with each batch, and print a table."""
    header, results, rows = HEADER, [], []
    if args.subject == "forward":
        header += ("difference", "same classes")
    for model in args.model:
        for batch in args.batch:
            both = contestants(args, model, cuda_graphs=args.subject == "forward" and batch == 1)
            calls = {name: CALLS[args.subject](args, contestant, batch) for name, contestant in both.items()}
            result: dict[str, Any] = {"model": model, "batch": batch}
            if args.subject == "forward":
                result |= agreement(calls["plain"](), calls["ours"]())
            times = in_turns(calls, args.repeat, args.device)
            del both, calls
            memory = {name: peak_memory(args, model, batch, name) if args.memory else None for name in times}
            result |= {
                "seconds": times,
                "milliseconds": {name: spread([1000 * t for t in values]) for name, values in times.items()},
                "ratio": ratios(times["plain"], times["ours"]),
                "images_per_second": batch / spread(times["ours"])["median"],
                "peak_memory_gb": memory,
            }
            results.append(result)
            rows.append(row(result))
            print(f"{model}, batch {batch}: {in_words(result['ratio'], 2)} times as fast", flush=True)
    how = f"{args.resolution} px, amp {args.amp}{', compiled' * args.compile}{', channels last' * args.channels_last}"
    print(f"\n{args.subject}, {how}; median (smallest to largest) of {args.repeat} rounds")
    print(table(header, rows))
    return {"how": how, "rounds": args.repeat, "results": results}


def row(result: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    memory = (f"{gb:.2f}" if gb is not None else "-" for gb in result["peak_memory_gb"].values())
    cells = (
        result["model"],
        str(result["batch"]),
        *(f"{values['median']:.1f}" for values in result["milliseconds"].values()),
        in_words(result["ratio"], 2),
        f"{result['images_per_second']:.1f}",
        *memory,
    )
    if "difference" in result:
        cells += (f"{result['difference']:.1e}", f"{result['same_classes']:.4%}")
    return cells


def agreement(plain: torch.Tensor, ours: torch.Tensor) -> dict[str, float]:
    """Relative difference of logits, and the part of pixels of one class where the best two of ``plain`` are apart."""
    best, second = plain.topk(2, dim=1).values.unbind(1)
    apart = best - second > 1e-3
    return {
        "difference": ((ours.float() - plain).norm() / plain.norm()).item(),
        "same_classes": (ours.argmax(1) == plain.argmax(1))[apart].float().mean().item(),
    }


def peak_memory(args: argparse.Namespace, model: str, batch: int, name: str) -> float:
    """The most that a model takes, with its weights and all that it computes, in GB of 10**9 bytes.

    On a CPU it is that of a process of its own, without what it took before there was a model.
    """
    if args.device.type == "cuda":
        return peak_memory_here(args, model, batch, name)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_memory_here, (args, model, batch, name))


def peak_memory_here(args: argparse.Namespace, model: str, batch: int, name: str) -> float:
    """That of this process since now, with nothing but this one model."""
    args = argparse.Namespace(**{**vars(args), "compile": False})
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    before = peak_memory_gb(args.device) if args.device.type == "cpu" else 0
    call = CALLS[args.subject](args, CONTESTANTS[name](args, model), batch)
    reset_peak_memory(args.device)
    call()
    call()
    return peak_memory_gb(args.device) - before
