"""Static quantisation of an exported file to 8 bits, calibrated on pictures.

8 bits are for convolutions and for products with weights. The ranges of activations leave out the rarest 0.01 % of the
calibration's values at each end, which keeps more pixels' classes than taking the extremes.
"""

import contextlib
import io
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from utils.errors import SettingsError
from utils.inference.crops import CANONICAL
from utils.inference.pictures import read_picture, squash
from utils.inference.sources import find_sources
from utils.logging import progress_bar

CAN_BE_INT8 = ("mobilenet", "resnet", "efficientnet")
MOST = 100  # pictures; more change the ranges little
HOW = {
    "quant_format": QuantFormat.QDQ,
    "op_types_to_quantize": ["Conv", "MatMul", "Gemm"],
    "per_channel": True,
    "activation_type": QuantType.QUInt8,
    "weight_type": QuantType.QInt8,
    "calibrate_method": CalibrationMethod.Percentile,
    "extra_options": {
        "MatMulConstBOnly": True,
        "CalibPercentile": 99.99,
        "CalibStridedMinMax": 1,  # one picture at a time; otherwise the activations of all would be kept
    },
}


def calibration_images(inputs: list[str], side: int) -> np.ndarray:
    """The first hundred pictures of ``inputs``, uint8 (N, side, side, 3). Raises SettingsError where there are none."""
    found = find_sources(inputs)
    pictures = [source for source in found.sources if not source.is_video][:MOST]
    if found.problems or not pictures:
        raise SettingsError("--calibration " + ("; ".join(found.problems) or "found no pictures; expected some"))
    return np.stack([squash(read_picture(source.path), side) for source in pictures])


def split(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures to calibrate with and others to compare on, every fifth; of fewer than ten all are both."""
    kept_back = np.arange(len(images)) % 5 == 4
    return (images, images) if len(images) < 10 else (images[~kept_back], images[kept_back])


class Pictures(CalibrationDataReader):
    """Hands pictures uint8 (N, R, R, 3) over one by one, as the file takes them."""

    def __init__(self, images: np.ndarray, wants_landmarks: bool, takes_floats: bool, bar) -> None:
        self.images = images
        self.takes_floats = takes_floats
        self.landmarks = {"landmarks": np.float32(CANONICAL * images.shape[1])[None]} if wants_landmarks else {}
        self.bar = bar
        self.rest: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.rest = list(range(start_index, end_index))

    def get_next(self) -> dict[str, np.ndarray] | None:
        if not self.rest:
            return None
        self.bar.update()
        batch = np.ascontiguousarray(self.images[self.rest.pop(0)].transpose(2, 0, 1)[None])
        return {"image": np.float32(batch) / 255 if self.takes_floats else batch, **self.landmarks}


def quantize(path: Path, target: Path, images: np.ndarray, wants_landmarks: bool, takes_floats: bool) -> Path:
    """Write the model at ``path`` with 8 bits, as seen on images uint8 (N, R, R, 3), and return ``target``."""
    prepared = path.with_name("prepared.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True, skip_optimization=True)
    with (
        progress_bar("calibration", len(images), True) as bar,
        contextlib.redirect_stdout(io.StringIO()),  # onnxruntime says the same of each picture
    ):
        quantize_static(prepared, target, Pictures(images, wants_landmarks, takes_floats, bar), **HOW)
    return target
