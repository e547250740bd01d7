"""Evaluation from files on disk to scores, as test.py does it, beside the model alone at the same batch."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from datasets import LABELS, SampleCache, create_dataset
from network import create_segface, label_map
from scripts.benchmarks.timing import in_turns, in_words, ratios, spread, table
from utils.distributed import distributed_world
from utils.engine import create_loader, evaluate, to_device
from utils.reproducibility import set_arithmetic
from utils.sampling import EvalBatches


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Images per second of both, with a cache of label maps that the first, uncounted pass fills."""
    head, split = LABELS[args.dataset].head, "test"
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, distributed_world(args.device.type) as world:
        set_arithmetic(world.device, deterministic=False)
        cache = SampleCache(Path(folder))
        dataset = create_dataset(args.dataset, args.root, split, args.resolution, cache=cache)
        loader = create_loader(dataset, EvalBatches(len(dataset), args.batch), args.num_workers, world)
        model = create_segface(args.model, head, args.resolution, pretrained="none").to(world.device).eval()
        batches = [to_device(batch, world.device) for batch in loader]

        @torch.inference_mode()
        def alone() -> None:
            for images, _, landmarks in batches:
                label_map(model(images, landmarks))

        def from_disk() -> None:
            evaluate(model, loader, args.dataset, world, split)

        times = in_turns({"alone": alone, "from disk": from_disk}, args.repeat, world.device)
    speeds = {name: spread([len(dataset) / t for t in values]) for name, values in times.items()}
    ratio = ratios(times["alone"], times["from disk"])
    print(
        f"{args.model}, {args.resolution} px, batch {args.batch}, {len(dataset)} images of {args.dataset}, "
        f"{args.num_workers} workers; median (smallest to largest) of {args.repeat} rounds"
    )
    cells = (in_words(values, 1) for values in speeds.values())
    print(
        table(("", "model alone, images/s", "from disk to scores", "ratio"), [(args.model, *cells, in_words(ratio, 2))])
    )
    return {"images": len(dataset), "images_per_second": speeds, "ratio": ratio}
