"""RoI tanh-warp: the LaPa model sees a face-centred warped image, and its logits are warped back.

*Face Parsing with RoI Tanh-Warping* (Lin et al., CVPR 2019), with the constants of FaRL (Zheng et al., CVPR 2022).

Grids have the precision of the landmarks, float32 as a rule, whatever that of the images. Rounding matters: a grid
value is a position to about 1/30,000 pixel, which shows in the fifth digit of the logits of a noisy picture. The order
of the sums below is that of the code that trained the published weights, with the fused multiply-add of its matrix
products (`multiply_add`).
"""

import torch
import torch.nn.functional as F

# Left eye, right eye, nose tip, left and right mouth corner (image left first) in a frame of 512 x 512.
CANONICAL_LANDMARKS = ((196.0, 226.0), (316.0, 226.0), (256.0, 286.0), (220.0, 360.4), (292.0, 360.4))
CANONICAL_SIDE = 512
WARP_FACTOR = 0.8
ATANH_MARGIN = 1e-3

# x' = a x + b y + shift_x and y' = a y - b x + shift_y: four tensors (B,) a, b, shift_x, shift_y.
Similarity = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def similarity_to_canonical(landmarks: torch.Tensor, side: int) -> Similarity:
    """Least-squares similarity (rotation, uniform scale, shift) from landmarks to the canonical face.

    Landmarks are (B, 5, 2) x, y in pixels of a ``side`` x ``side`` image. Raises ValueError where the five points of
    a face coincide: they say neither scale nor rotation.
    """
    source = landmarks.to(torch.promote_types(landmarks.dtype, torch.float32))  # (B, 5, 2)
    target = source.new_tensor(CANONICAL_LANDMARKS) / CANONICAL_SIDE * (side - 1)  # (5, 2)
    source_mean, target_mean = source.mean(1), target.mean(0)
    s, t = source - source_mean[:, None], target - target_mean
    spread = s.square().sum((1, 2))  # (B,)
    if not torch.compiler.is_compiling() and not (spread > 0).all():
        raise ValueError(
            "the five landmarks of a face coincide, so it cannot be warped; expected left eye, right eye, "
            f"nose tip and the two mouth corners in pixels of the {side} x {side} image"
        )
    a = (s * t).sum((1, 2)) / spread  # scale * cos
    b = (s[..., 1] * t[..., 0] - s[..., 0] * t[..., 1]).sum(1) / spread  # -scale * sin
    x, y = source_mean.unbind(-1)
    return a, b, target_mean[0] - a * x - b * y, target_mean[1] + b * x - a * y


def warp(images: torch.Tensor, similarity: Similarity) -> torch.Tensor:
    """Images (B, C, R, R) into the canonical frame, its surroundings squeezed towards the border by tanh."""
    side = images.shape[-1]
    c = pixel_grid(side, similarity) / side * 2 - 1  # (R, R, 2)
    c = beyond_the_face(c, lambda v: v.clamp(-1 + ATANH_MARGIN, 1 - ATANH_MARGIN).atanh())
    source = transform((c + 1) / 2 * side, invert(similarity))  # (B, R, R, 2)
    return sample(images, source / side * 2 - 1)


def unwarp(logits: torch.Tensor, similarity: Similarity) -> torch.Tensor:
    """Logits (B, K, R, R) of warped images back to the frame of the images; 0 for every class outside."""
    side = logits.shape[-1]
    c = transform(pixel_grid(side, similarity), similarity) / side * 2 - 1  # (B, R, R, 2)
    return sample(logits, beyond_the_face(c, torch.tanh))


def beyond_the_face(c: torch.Tensor, bend) -> torch.Tensor:
    """``bend`` what lies further than ``1 - WARP_FACTOR`` from the centre of [-1, 1]; the rest stays."""
    w = WARP_FACTOR
    right = bend((c - 1 + w) / w) * w + 1 - w
    left = bend((c + 1 - w) / w) * w - 1 + w
    return torch.where(c > 1 - w, right, torch.where(c < w - 1, left, c))


def pixel_grid(side: int, similarity: Similarity) -> torch.Tensor:
    """Integer pixel indices (side, side, 2), x first, on the device and in the precision of ``similarity``."""
    index = torch.arange(side, device=similarity[0].device, dtype=similarity[0].dtype)
    return torch.stack(torch.meshgrid(index, index, indexing="xy"), -1)


def transform(points: torch.Tensor, similarity: Similarity) -> torch.Tensor:
    """Points (R, R, 2) by each of B similarities: (B, R, R, 2)."""
    a, b, shift_x, shift_y = (v[:, None, None] for v in similarity)
    x, y = points.unbind(-1)
    return torch.stack([multiply_add(b, y, a * x) + shift_x, multiply_add(a, y, -b * x) + shift_y], -1)


def multiply_add(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """``a * b + c``, rounded once."""
    return (a.double() * b.double() + c.double()).to(c.dtype)


def invert(similarity: Similarity) -> Similarity:
    """The similarities that take every point back."""
    a, b, x, y = (v.double() for v in similarity)
    scale = a * a + b * b
    inverse = (a / scale, -b / scale, (b * y - a * x) / scale, -(b * x + a * y) / scale)
    return tuple(v.to(similarity[0].dtype) for v in inverse)


def sample(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Bilinear sampling of (B, C, R, R) at a grid (B, R, R, 2) in [-1, 1], zero outside, in the higher precision."""
    dtype = torch.promote_types(images.dtype, grid.dtype)
    return F.grid_sample(images.to(dtype), grid.to(dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
