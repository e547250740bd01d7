"""Static quantisation of an exported file to 8 bits, calibrated on pictures."""

import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from utils.errors import SettingsError
from utils.inference.crops import CANONICAL
from utils.inference.pictures import read_picture, squash
from utils.inference.sources import find_sources

CAN_BE_INT8 = ("mobilenet", "resnet", "efficientnet")
MOST = 100  # pictures; more change the ranges of the activations little


def calibration_images(inputs: list[str], output: Path, side: int) -> np.ndarray:
    """The first hundred pictures of ``inputs``, uint8 (N, side, side, 3). Raises SettingsError where there are none."""
    found = find_sources(inputs, output / "nothing is left out")
    pictures = [source for source in found.sources if not source.is_video][:MOST]
    if found.problems or not pictures:
        raise SettingsError("--calibration: " + ("; ".join(found.problems) or "found no pictures; expected some"))
    return np.stack([squash(read_picture(source.path), side) for source in pictures])


class Pictures(CalibrationDataReader):
    """Hands the pictures over one by one."""

    def __init__(self, images: np.ndarray, wants_landmarks: bool, takes_floats: bool) -> None:
        side = images.shape[1]
        others = {"landmarks": np.float32(CANONICAL * side)[None]} if wants_landmarks else {}
        self.rest = iter(
            {"image": np.float32(batch) / 255 if takes_floats else batch, **others}
            for batch in (np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in images)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


def quantize(path: Path, target: Path, images: np.ndarray, wants_landmarks: bool, takes_floats: bool) -> Path:
    """Write the model at ``path`` with 8-bit convolutions and products, as seen on images uint8 (N, R, R, 3).

    Returns ``target``.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Pictures(images, wants_landmarks, takes_floats),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return target
