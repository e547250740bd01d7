"""Joint transforms of image, label map and landmarks, and normalisation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Face:
    """One picture on its way to a sample.

    ``image`` is RGB, ``label`` a map of class indices (mode L) whose size may differ from the image's by a scale, and
    ``landmarks`` (N, 2) x, y in pixels of the image, in the precision to go on in.
    """

    image: Image.Image
    label: Image.Image
    landmarks: np.ndarray


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 images (B, 3, H, W), 0 to 255, on any device, to floats normalised by ImageNet's mean and std."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


def crop(face: Face, box: tuple[int, int, int, int]) -> Face:
    """Cut out ``box`` = left, top, right, bottom in pixels of an image and a label of the same size."""
    corner = np.array(box[:2], face.landmarks.dtype)
    return Face(face.image.crop(box), face.label.crop(box), face.landmarks - corner)


def resize(face: Face, resolution: int) -> Face:
    """Squash to a square of side ``resolution``: Pillow's antialiased bicubic for the image, nearest for the label."""
    size = (resolution, resolution)
    ratio = (resolution / np.array(face.image.size)).astype(face.landmarks.dtype)
    return Face(
        face.image.resize(size, Image.Resampling.BICUBIC),
        face.label.resize(size, Image.Resampling.NEAREST),
        face.landmarks * ratio,
    )


@dataclass(frozen=True)
class AffineRange:
    """The ranges a random affine transform is drawn from, all uniform: degrees, factor, pixels each way."""

    degrees: tuple[float, float]
    scale: tuple[float, float]
    shift: tuple[float, float]

    def draw(self, generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A (2, 3) matrix from pixels of an image of ``size`` (width, height) to pixels of the result.

        It rotates and scales about the image's centre, then shifts.
        """
        angle = math.radians(generator.uniform(*self.degrees))
        scale = generator.uniform(*self.scale)
        shift = generator.uniform(*self.shift, size=2)
        centre = np.array(size) / 2
        linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return np.column_stack([linear, centre + shift - linear @ centre])


def affine(face: Face, matrix: np.ndarray) -> Face:
    """Move a face by a (2, 3) matrix: bicubic and black outside for the image, nearest and background for the label.

    The label must have the image's size.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    inverse = np.linalg.inv(linear)
    # Pillow asks where each pixel of the result comes from.
    coefficients = np.column_stack([inverse, -inverse @ shift]).flatten().tolist()
    size = face.image.size
    return Face(
        face.image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC),
        face.label.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST),
        (face.landmarks @ linear.T + shift).astype(face.landmarks.dtype),
    )


def to_tensors(face: Face) -> dict[str, torch.Tensor]:
    """``image`` uint8 (3, H, W), ``label`` uint8 (H, W), ``landmarks`` float32 (5, 2)."""
    return {
        "image": torch.from_numpy(np.array(face.image)).permute(2, 0, 1).contiguous(),
        "label": torch.from_numpy(np.array(face.label)),
        "landmarks": torch.from_numpy(face.landmarks.astype(np.float32)),
    }
