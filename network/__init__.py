"""The SegFace model and its weights.

What is named here is imported when it is used, so that its errors can be had without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

MODULES = {
    "BACKBONES": "network.backbones",
    "HEADS": "network.segface",
    "PUBLISHED": "network.checkpoint",
    "ModelError": "network.errors",
    "SegFace": "network.segface",
    "WeightsError": "network.errors",
    "create_segface": "network.segface",
    "label_map": "network.segface",
    "load_weights": "network.checkpoint",
    "save_weights": "network.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
