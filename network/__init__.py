"""The SegFace model and its weights."""

from network.backbones import BACKBONES
from network.checkpoint import PUBLISHED, load_weights, save_weights
from network.errors import ModelError, WeightsError
from network.segface import HEADS, SegFace, create_segface, label_map

__all__ = [
    "BACKBONES",
    "HEADS",
    "PUBLISHED",
    "ModelError",
    "SegFace",
    "WeightsError",
    "create_segface",
    "label_map",
    "load_weights",
    "save_weights",
]
