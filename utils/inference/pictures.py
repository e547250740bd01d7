"""Any picture as RGB."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datasets.errors import DataError

# What Pillow raises on files that are damaged or of another kind.
UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
SIXTEEN_BITS = 65535
SIXTEEN_IN_32 = ("PNG", "PPM")  # what Pillow gives as 32-bit numbers though it has 16 bits


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB, upright as its EXIF orientation says.

    Grey, palette, CMYK and 16-bit pictures are converted, transparent ones laid on white; of an animation the first
    picture is taken. Raises DataError for a file that is missing, damaged or no picture, and for one of more than
    Pillow's limit of pixels (179 million).
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            return to_rgb(picture)
    except FileNotFoundError as error:
        raise DataError(f"{path}: found no such file; expected a picture") from error
    except UNREADABLE as error:
        size = f" ({path.stat().st_size:,} bytes)" if path.is_file() else ""
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(
            f"{path}{size}: found no whole picture: {reason}; expected a file that Pillow can read. Open it in a "
            "picture viewer, and save it again as PNG or JPEG"
        ) from error


def to_rgb(picture: Image.Image) -> np.ndarray:
    """A Pillow picture as uint8 (H, W, 3) RGB, upright. Raises ValueError for floating-point and 32-bit values."""
    kind, picture = picture.format, ImageOps.exif_transpose(picture)
    if picture.mode == "F" or (picture.mode == "I" and kind not in SIXTEEN_IN_32):
        raise ValueError("its pixels are floating-point or 32-bit numbers, of which the range is unknown")
    if picture.mode.startswith("I"):  # Pillow itself would cut off what is over 255
        return from_16_bits(np.asarray(picture))
    if picture.mode in WITH_ALPHA or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def from_16_bits(grey: np.ndarray) -> np.ndarray:
    """Grey values (H, W) from 0 to 65535 as uint8 (H, W, 3)."""
    low, high = (int(grey.min()), int(grey.max())) if grey.size else (0, 0)
    if low < 0 or high > SIXTEEN_BITS:
        raise ValueError(f"its grey values go from {low} to {high}, beyond 16 bits")
    eight = (grey.astype(np.uint32) * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS
    return np.repeat(eight.astype(np.uint8)[..., None], 3, axis=2)


def as_rgb(image: np.ndarray | Image.Image | str | Path) -> np.ndarray:
    """An RGB array, a Pillow picture or a path as uint8 (H, W, 3) RGB.

    Raises DataError for a file as ``read_picture`` does, and ValueError for an array of another shape or type.
    """
    if isinstance(image, str | Path):
        return read_picture(image)
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"found a {type(image).__name__}; expected an RGB array, a Pillow picture or a path")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"found an array {image.shape} of {image.dtype}; expected uint8 (H, W, 3), RGB")
    return image


def squash(rgb: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) as the models were trained on it: (side, side, 3), by Pillow's bicubic filter."""
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC))
