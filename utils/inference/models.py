"""A model that parses faces, whatever runs it."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datasets.labels import Labels
from utils.errors import SettingsError


class Model(Protocol):
    """Images to logits.

    ``labels`` is the table of its classes, ``resolution`` the side of its images, ``wants_landmarks`` whether it
    warps faces, ``description`` a few words. ``gives_logits`` is False where there are label maps in the file, of which
    ``logits`` makes 0 and 1.
    """

    labels: Labels
    resolution: int
    wants_landmarks: bool
    gives_logits: bool
    description: str

    def logits(self, images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Images uint8 (B, R, R, 3) RGB and landmarks float32 (B, 5, 2) in their pixels to float32 (B, K, R, R)."""


def open_model(source: str | Path, device: str = "auto", **options: Any) -> Model:
    """The model of an ONNX file, by onnxruntime alone, or of weights (see TorchModel), by PyTorch.

    An ONNX file takes no ``options``: all is said in it.
    """
    if str(source).lower().endswith(".onnx"):
        from utils.inference.onnx_model import OnnxModel

        return OnnxModel(source, device, **options)
    try:
        from utils.inference.torch_model import TorchModel
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{source} needs {error.name}, which is not installed; bash scripts/setup.sh brings it. An ONNX file of "
            "export.py needs onnxruntime alone"
        ) from error

    return TorchModel(source, device, **options)
