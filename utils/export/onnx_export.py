"""Writing the ONNX file."""

import json
from pathlib import Path

import onnx
import torch
from torch import nn

from datasets.labels import LABELS
from datasets.transforms import IMAGENET_MEAN, IMAGENET_STD
from network import SegFace
from utils.inference.crops import CANONICAL
from utils.inference.onnx_model import METADATA_KEY
from utils.inference.torch_model import TorchModel
from utils.report import versions

OPSET = 18
TRACED_BATCH = 2  # of one the exporter would take the size for fixed
MOST = 1024  # pictures in a batch


class FromPixels(nn.Module):
    """A SegFace with normalisation before it, and with ``labels`` the choice of the best class after it."""

    def __init__(self, network: SegFace, input_type: str, output_type: str) -> None:
        super().__init__()
        self.network = network
        self.labels = output_type == "labels"
        highest = 255.0 if input_type == "uint8" else 1.0
        self.register_buffer("mean", highest * torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", highest * torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, image: torch.Tensor, landmarks: torch.Tensor | None = None) -> torch.Tensor:
        """Pixels (B, 3, R, R) to logits float32 (B, K, R, R), or to classes uint8 (B, R, R)."""
        logits = self.network((image.float() - self.mean) / self.std, landmarks)
        return logits.argmax(1).to(torch.uint8) if self.labels else logits


def to_onnx(model: TorchModel, path: Path, input_type: str, output_type: str, source: str) -> None:
    """Write a model as ONNX; what is told of it goes into the file's metadata."""
    side = model.resolution
    dtype = torch.uint8 if input_type == "uint8" else torch.float32
    inputs = {"image": torch.zeros(TRACED_BATCH, 3, side, side, dtype=dtype)}
    if model.wants_landmarks:
        inputs["landmarks"] = torch.from_numpy(CANONICAL * side).repeat(TRACED_BATCH, 1, 1)
    batch = torch.export.Dim("batch", min=1, max=MOST)
    with torch.no_grad():
        torch.onnx.export(
            FromPixels(model.network, input_type, output_type).eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=[output_type],
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    content = onnx.load(path)
    about = {METADATA_KEY: json.dumps(describe(model, input_type, output_type, source))}
    onnx.helper.set_model_props(content, about)
    onnx.save(content, path)


def describe(model: TorchModel, input_type: str, output_type: str, source: str) -> dict:
    """What a program must know of the file to use it."""
    dataset = next(name for name, labels in LABELS.items() if labels == model.labels)
    return {
        "weights": source,
        **model.network.config,
        "dataset": dataset,
        "input": f"image: {input_type} (batch, 3, {model.resolution}, {model.resolution}), RGB",
        "output": output_type,
        "names": model.labels.names,
        "palette": model.labels.palette,
        "versions": {**versions(), "onnx": onnx.__version__},
    }
