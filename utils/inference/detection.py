"""Faces found by OpenCV's YuNet (Wu et al., Machine Intelligence Research 2023)."""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from datasets.errors import DataError
from utils.inference.crops import Face

HUB_REPOSITORY = "opencv/face_detection_yunet"
FILENAME = "face_detection_yunet_2023mar.onnx"
SIDE = 640  # pixels of the longer side of what the detector looks at; it was trained on such pictures
MIN_SCORE = 0.9  # OpenCV's own default

# A detector: RGB uint8 (H, W, 3) to the faces in it.
Detector = Callable[[np.ndarray], list[Face]]


class YuNet:
    """Finds faces in uint8 (H, W, 3) RGB pictures, the most certain first. Threads may share one.

    Raises FileNotFoundError where there is no such file, and DataError where OpenCV cannot use it.
    """

    def __init__(self, path: str | Path, min_score: float = MIN_SCORE) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no detector at {path}; expected {FILENAME} of the Hub repository {HUB_REPOSITORY}"
            )
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (SIDE, SIDE), min_score)
        except cv2.error as error:
            raise DataError(unusable(path, error)) from error
        self.path = path
        self.lock = threading.Lock()  # the size of the picture is kept in the detector

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        height, width = rgb.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        bgr = np.ascontiguousarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)[..., ::-1])
        with self.lock:
            self.network.setInputSize(size)
            try:
                _, found = self.network.detect(bgr)
            except cv2.error as error:
                raise DataError(unusable(self.path, error)) from error
        ratio = np.array([width / size[0], height / size[1]])
        return [to_face(row, ratio) for row in ([] if found is None else found)]


def to_face(row: np.ndarray, ratio: np.ndarray) -> Face:
    """A row of YuNet: box, then the person's right and left eye, nose tip, right and left mouth corner, then score."""
    box = (row[:4].reshape(2, 2) * ratio).flatten()
    return Face(np.float32(row[4:14].reshape(5, 2) * ratio), tuple(map(float, box)), float(row[14]))


def unusable(path: str | Path, error: cv2.error) -> str:
    reason = str(error).strip().splitlines()[0]
    return f"{path}: found no face detector that OpenCV can run ({reason}); expected {FILENAME} of {HUB_REPOSITORY}"


def fetch_detector() -> Path:
    """YuNet's file from the Hub, or its cache. Raises ConnectionError where it cannot be had."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(HUB_REPOSITORY, FILENAME))
    except (OSError, ImportError) as error:
        raise ConnectionError(
            f"cannot fetch {FILENAME} of the Hub repository {HUB_REPOSITORY}: {str(error).rstrip('.')}. On a machine "
            f"without network, fetch https://huggingface.co/{HUB_REPOSITORY}/resolve/main/{FILENAME} elsewhere and "
            "pass its path as --detector PATH"
        ) from error
