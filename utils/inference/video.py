"""Videos: frames in, frames out at the same rate and size, and smoothing over time."""

import errno
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.errors import DataError
from network.writing import replacing
from utils.errors import SettingsError
from utils.inference.crops import Crop
from utils.inference.sources import Source

USUAL_RATE = 30.0  # frames a second, where a camera does not tell
HIGHEST_RATE = 240.0
SAME_FACE = 0.5  # sides of a crop that a face may move from a frame to the next


class FrameReader:
    """The frames of a video file or a camera, uint8 (H, W, 3) RGB. Raises DataError where there are none."""

    def __init__(self, source: Source) -> None:
        self.source = source
        is_camera = source.camera is not None
        self.capture = cv2.VideoCapture(source.camera if is_camera else str(source.path))
        if not self.capture.isOpened():
            raise DataError(
                f"camera {source.camera}: found none that can be opened; expected one that no other program uses"
                if is_camera
                else f"{source.path}: found no video that OpenCV can read; expected a whole file of a usual format"
            )
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and 0 < rate <= HIGHEST_RATE else USUAL_RATE
        count = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = int(count) if not is_camera and 0 < count < 2**31 else None
        self.read = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            there_is, bgr = self.capture.read()
            if not there_is:
                return
            self.read += 1
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def complaint(self) -> str | None:
        """What is wrong where a file ends before its header says."""
        if not self.read:
            return f"{self.source.path}: found no frame that OpenCV can read; expected a whole video"
        if self.expected and self.read < 0.98 * self.expected - 2:
            return (
                f"{self.source.path}: found {self.read} frames; expected {self.expected}, as its header says. The file "
                "is damaged or incomplete; what could be read was parsed"
            )
        return None

    def close(self) -> None:
        self.capture.release()


class FrameWriter:
    """An MP4 file, which appears at ``path`` when it is complete."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = rate
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        self.video: cv2.VideoWriter | None = None
        self.written = 0

    def write(self, rgb: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3); MP4 has even sizes, so the last row or column of an odd one is left out."""
        size = (rgb.shape[1] // 2 * 2, rgb.shape[0] // 2 * 2)
        if self.video is None:
            self.size = size
            self.video = cv2.VideoWriter(str(self.temporary), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
            if not all(size) or not self.video.isOpened():
                raise DataError(f"{self.path}: OpenCV cannot write a video of {size[0]} x {size[1]} pixels there")
        if size != self.size:
            raise DataError(f"{self.path}: a frame has {size} pixels; the ones before had {self.size}")
        self.video.write(cv2.cvtColor(rgb[: size[1], : size[0]], cv2.COLOR_RGB2BGR))
        self.written += 1

    def finish(self) -> None:
        """Put the file in its place. Raises OSError where the disk did not take all of it, which OpenCV hides."""
        if self.video is None:
            return
        self.video.release()
        capture = cv2.VideoCapture(str(self.temporary))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if frames != self.written:
            raise OSError(errno.ENOSPC, f"only {frames} of {self.written} frames fit", str(self.path))
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())
        self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove what is not complete."""
        if self.video is not None:
            self.video.release()
        self.temporary.unlink(missing_ok=True)


class Smoother:
    """Exponential averages of logits over the frames: ``strength`` of what was, and the rest of what is.

    A crop goes on with the nearest one of the frame before that is not further than half its side.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.before: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, crops: tuple[Crop, ...], logits: np.ndarray) -> np.ndarray:
        """Averaged logits (N, K, R, R) of the crops of the next frame."""
        free, result = self.before, []
        for crop, now in zip(crops, logits, strict=True):
            distances = [apart(crop, place) for place, _ in free]
            if distances and min(distances) <= SAME_FACE:
                index = int(np.argmin(distances))
                now = self.strength * free[index][1] + (1 - self.strength) * now
                free = free[:index] + free[index + 1 :]
            result.append(now)
        self.before = [(centre(crop), now) for crop, now in zip(crops, result, strict=True)]
        return np.stack(result) if result else logits


def centre(crop: Crop) -> np.ndarray:
    """The middle of a crop in the picture (2,); of a whole picture always the same."""
    side = len(crop.image)
    return np.zeros(2) if crop.to_picture is None else crop.to_picture @ (side / 2, side / 2, 1)


def apart(crop: Crop, place: np.ndarray) -> float:
    """How far the middle of a crop is from a place in the picture, in its sides."""
    side = 1.0 if crop.to_picture is None else len(crop.image) * np.hypot(*crop.to_picture[:, 0])
    return float(np.hypot(*(centre(crop) - place)) / side)


class Window:
    """Shows frames as they come. Raises SettingsError where there is no screen, or no window in this OpenCV."""

    def __init__(self, title: str) -> None:
        self.title = title
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SettingsError("--show needs a screen, and DISPLAY is not set; leave it out, and look at the MP4 file")
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise SettingsError(
                "--show: this OpenCV has no windows; pip uninstall opencv-python-headless, then pip install "
                "opencv-python"
            ) from error

    def show(self, rgb: np.ndarray) -> bool:
        """Show a frame; False when q or Escape was pressed."""
        cv2.imshow(self.title, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def write_picture(rgb: np.ndarray, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with replacing(path) as file:
        Image.fromarray(rgb).save(file, "PNG")
