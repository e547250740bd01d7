"""SegFace: encoder -> fusion -> decoder, one class for every dataset (Narayan et al., AAAI 2025)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from network.backbones import create_encoder
from network.decoder import FaceDecoder, MaskHead, PositionEncoding, TwoWayTransformer
from network.errors import ModelError
from network.fusion import MLPFusion
from network.kept import forget
from network.strips import one_by_one
from network.warp import similarity_to_canonical, unwarp, warp

COARSEST_STRIDE = 32


@dataclass(frozen=True)
class Head:
    """What a dataset asks of the model: its classes, in the order of the output channels, and whether to warp.

    The names are those of the tokens in the published files. Only their order counts: the CelebAMask-HQ ones have
    left and right swapped against that dataset's labels.
    """

    class_names: tuple[str, ...]
    warp: bool = False


ELEVEN_CLASSES = (
    "background", "face", "leftbro", "rightbro", "lefteye", "righteye", "nose", "upperlip", "innermouth", "lowerlip",
    "hair",
)  # fmt: skip

HEADS = {
    "segface_celeb": Head(
        (
            "background", "neck", "face", "cloth", "rightear", "leftear", "rightbro", "leftbro", "righteye", "lefteye",
            "nose", "innermouth", "lowerlip", "upperlip", "hair", "glass", "hat", "earring", "necklace",
        )
    ),
    "segface_lapa": Head(ELEVEN_CLASSES, warp=True),
    "segface_helen": Head(ELEVEN_CLASSES),
}  # fmt: skip


class SegFace(nn.Module):
    """Images to per-pixel class logits.

    ``config`` says how the model was built: ``model``, ``head`` and ``resolution``, the keywords of create_segface.
    """

    def __init__(self, encoder: nn.Module, fusion: nn.Module, decoder: nn.Module, warp: bool, config: dict) -> None:
        super().__init__()
        self.encoder = encoder
        self.fusion = fusion
        self.decoder = decoder
        self.warp = warp
        self.config = config

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor | None = None) -> torch.Tensor:
        """Parse a batch of faces.

        Images are (B, 3, R, R) floats normalised by ImageNet's mean and std, R a multiple of 32. A model with the
        head ``segface_lapa`` also needs landmarks (B, 5, 2): eyes, nose tip and mouth corners, image left first, in
        pixels of the input; the others ignore them. Returns logits (B, K, R, R). Raises ValueError for other shapes.
        """
        self.check_inputs(images, landmarks)
        if self.warp:
            similarity = similarity_to_canonical(landmarks, images.shape[-1])
            images = warp(images, similarity)  # (B, 3, R, R)
        maps = self.encoder(images)  # 4 x (B, C_i, R/s, R/s), s = 4, 8, 16, 32
        logits = self.decode(maps)  # (B, K, R, R)
        return unwarp(logits, similarity) if self.warp else logits

    def decode(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps of the encoder to logits; on a CPU one picture after the other, to stay in its cache."""
        if one_by_one(maps[0]):
            return torch.cat([self.decode(of_one) for of_one in zip(*(level.split(1) for level in maps), strict=True)])
        face = self.fusion(maps)  # (B, R/4, R/4, 256), in strips
        return self.decoder(face)  # (B, K, R, R)

    def train(self, mode: bool = True) -> "SegFace":
        """As of every module; what the model keeps between pictures is dropped."""
        forget(self)
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> "SegFace":
        """Moving to another device or precision drops it, too."""
        forget(self)
        return super()._apply(*args, **kwargs)

    def check_inputs(self, images: torch.Tensor, landmarks: torch.Tensor | None) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or any(s % COARSEST_STRIDE or not s for s in images.shape[2:]):
            raise ValueError(
                f"images have the shape {tuple(images.shape)}; expected (B, 3, H, W) "
                f"with H and W multiples of {COARSEST_STRIDE}"
            )
        if not self.warp:
            return
        expected = (images.shape[0], 5, 2)
        if landmarks is None or tuple(landmarks.shape) != expected:
            found = "none" if landmarks is None else f"the shape {tuple(landmarks.shape)}"
            raise ValueError(f"head {self.config['head']} warps the face and needs landmarks {expected}; found {found}")
        if images.shape[2] != images.shape[3]:
            raise ValueError(f"head {self.config['head']} needs square images; found {tuple(images.shape)}")


def label_map(logits: torch.Tensor) -> torch.Tensor:
    """The class of every pixel, int64 (B, H, W), of logits (B, K, H, W): argmax, which is slower than this on a CPU."""
    return logits.max(1).indices


def create_segface(
    model: str = "swin_base",
    head: str = "segface_celeb",
    resolution: int = 512,
    pretrained: str | Path = "torchvision",
) -> SegFace:
    """Build a SegFace.

    ``model`` is an encoder of ``BACKBONES`` or ``timm/NAME``; ``head`` one of ``HEADS``; ``resolution`` the side of
    its images in pixels; ``pretrained`` what the encoder starts from: ``torchvision`` (the paper's start), ``timm``,
    ``none`` or a path (see create_encoder). Raises ModelError for an unknown name or a side that is no multiple of 32.
    """
    if head not in HEADS:
        raise ModelError(f"unknown head {head!r}; choose one of {', '.join(HEADS)}")
    if resolution <= 0 or resolution % COARSEST_STRIDE:
        raise ModelError(f"resolution {resolution} is no positive multiple of {COARSEST_STRIDE}")
    dim = 256
    encoder = create_encoder(model, resolution, pretrained)
    return SegFace(
        encoder=encoder,
        fusion=MLPFusion(encoder.channels, dim),
        decoder=FaceDecoder(
            num_classes=len(HEADS[head].class_names),
            dim=dim,
            position_encoding=PositionEncoding(dim),
            transformer=TwoWayTransformer(dim, heads=8, mlp_dim=2048, depth=2),
            mask_head=MaskHead(dim),
        ),
        warp=HEADS[head].warp,
        config={"model": model, "head": head, "resolution": resolution},
    )
