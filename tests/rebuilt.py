"""Weights and images that anyone can rebuild from names and seeds: what the golden files were computed on."""

import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


@cache
def released() -> dict:
    """The published checkpoints: their names, and every tensor's name and shape for each family."""
    return json.loads((GOLDEN / "released_checkpoints.json").read_text())


def rebuilt_weights(shapes: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
    """The weights of a published file by the golden files' rule; Swin's tables are left out."""
    return {
        key: torch.from_numpy(rebuilt_tensor(key, tuple(shape)))
        for key, shape in shapes.items()
        if not key.endswith(("relative_position_index", "relative_coords_table"))
    }


def rebuilt_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    if key.endswith("running_mean"):
        return 0.1 * x
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(x)
    if key.endswith("logit_scale"):
        return np.log(10).astype(np.float32) + 0.1 * x
    if key.endswith("layer_scale"):
        return 0.1 * x
    if key.endswith(("positional_encoding_gaussian_matrix", "_token.weight")):
        return x
    if sum(side > 1 for side in shape) <= 1 and len(shape) <= 1:
        return 1 + 0.1 * x if key.endswith("weight") else 0.1 * x
    return x / np.sqrt(np.prod(shape[1:])).astype(np.float32)


def rebuilt_images(seed: int, batch: int, resolution: int) -> tuple[torch.Tensor, np.random.Generator]:
    """The normalised image batch of a golden file, and the generator to draw on from."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.standard_normal((batch, 3, resolution, resolution), dtype=np.float32)), generator
