"""onnxruntime beside PyTorch: the same model and pictures, in turns."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from network import create_segface, save_weights
from network.checkpoint import resolve_source
from scripts.benchmarks.model import HEAD
from scripts.benchmarks.timing import in_turns, in_words, ratios, spread, table
from utils.errors import SettingsError
from utils.export.int8 import CAN_BE_INT8, quantize
from utils.export.onnx_export import to_onnx
from utils.export.parity import compare, sample_images
from utils.inference.crops import CANONICAL
from utils.inference.models import Model
from utils.inference.onnx_model import OnnxModel
from utils.inference.torch_model import TorchModel

HEADER = ("", "MB", "ms", "PyTorch's time / its time", "largest difference", "same class")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the model by PyTorch and in files of 32 and 8 bits by onnxruntime, and print a table."""
    if args.device.type != "cpu":
        raise SettingsError(f"--device {args.device}: onnxruntime is measured on a CPU; choose cpu")
    with tempfile.TemporaryDirectory() as folder:
        models, sizes = contestants(args, Path(folder))
        images = sample_images(args.resolution)[2:]  # the drawn ones
        batch = np.resize(images, (args.batch, *images.shape[1:]))
        landmarks = np.float32([CANONICAL * args.resolution] * args.batch)
        calls = {name: (lambda model=model: model.logits(batch, landmarks)) for name, model in models.items()}
        times = in_turns(calls, args.repeat, args.device)
    results, rows = {}, []
    for name, model in models.items():
        parity = compare(models["PyTorch"], model, images)
        results[name] = {
            "megabytes": sizes[name],
            "milliseconds": spread([1000 * t for t in times[name]]),
            "ratio": ratios(times["PyTorch"], times[name]),
            "difference": parity.difference,
            "agreement": parity.agreement,
        }
        rows.append(
            (
                name,
                f"{sizes[name]:.1f}",
                f"{results[name]['milliseconds']['median']:.1f}",
                in_words(results[name]["ratio"], 2),
                f"{parity.difference:.1e}",
                f"{parity.agreement:.2%}",
            )
        )
    how = f"{args.model}, {args.weights or 'random weights'}, batch {args.batch}, {args.resolution} px"
    print(f"\n{how}; median (smallest to largest) of {args.repeat} rounds")
    print(table(HEADER, rows))
    return {"how": how, "rounds": args.repeat, "results": results}


def contestants(args: argparse.Namespace, folder: Path) -> tuple[dict[str, Model], dict[str, float]]:
    """The models and the sizes of their files in MB; 8 bits where they can be had."""
    weights = args.weights or folder / "weights.pt"
    if not args.weights:
        save_weights(create_segface(args.model, HEAD, args.resolution, pretrained="none"), weights)
    ours = TorchModel(weights, "cpu", resolution=args.resolution)
    path = folder / "model.onnx"
    to_onnx(ours, path, "uint8", "logits", str(weights))
    models: dict[str, Model] = {"PyTorch": ours, "onnxruntime": OnnxModel(path, "cpu", threads=args.threads)}
    sizes = {"PyTorch": resolve_source(weights).stat().st_size / 1e6, "onnxruntime": path.stat().st_size / 1e6}
    if ours.network.config["model"] in CAN_BE_INT8:
        calibration = sample_images(args.resolution)[2:]
        small = quantize(path, folder / "int8.onnx", calibration, ours.wants_landmarks, takes_floats=False)
        models["onnxruntime, int8"] = OnnxModel(small, "cpu", threads=args.threads)
        sizes["onnxruntime, int8"] = small.stat().st_size / 1e6
    return models, sizes
