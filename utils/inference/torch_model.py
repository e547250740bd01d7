"""A model run by PyTorch, from any weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.labels import LABELS
from datasets.transforms import normalize
from network import PUBLISHED, WeightsError, create_segface, load_weights
from network.checkpoint import config_of, extract_state, identify, is_published, resolve_source
from network.files import read_file
from utils.errors import SettingsError
from utils.precision import Precision

DEFAULT_RESOLUTION = 512  # of a published file that does not say its own


class TorchModel:
    """See ``models.Model``. Threads may share one.

    ``source`` is a published name, a published file or one of our checkpoints. What it says of its encoder, dataset
    and resolution can be overridden, and must be said where it does not say it.
    """

    gives_logits = True

    def __init__(
        self,
        source: str | Path,
        device: str = "auto",
        amp: str = "off",
        dataset: str | None = None,
        model: str | None = None,
        resolution: int | None = None,
    ) -> None:
        torch.set_flush_denormal(True)  # windows of padding alone would take a CPU three times as long
        self.device = choose_device(device)
        self.precision = Precision(self.device, amp)
        path = resolve_source(source)
        content = read_file(path)
        known = known_settings(str(source), path, content)
        head = LABELS[dataset].head if dataset else known["head"]
        if head is None:
            raise SettingsError(
                f"{source} does not say whether its 11 classes are LaPa's or Helen's; pass --dataset lapa or helen"
            )
        self.resolution = resolution or known["resolution"]
        network = create_segface(model or known["model"], head, self.resolution, pretrained="none")
        self.network = load_weights(network, content).to(self.device).eval()
        self.labels = next(labels for labels in LABELS.values() if labels.head == head)
        self.wants_landmarks = self.network.warp
        self.description = f"{network.config['model']} for {self.labels.title} at {self.resolution}, {self.device}"

    def logits(self, images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), self.precision.autocast():
            batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
            points = torch.from_numpy(landmarks).to(self.device)
            return self.network(normalize(batch).contiguous(), points).float().cpu().numpy()


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``. Raises SettingsError for another."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise SettingsError(f"--device {name} is no device for this; choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs; choose --device cpu")
    return device


def known_settings(source: str, path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Model, head and resolution of weights: from their published name, their settings, or their tensors.

    The head is None where that cannot be told. Raises WeightsError for tensors of no model that is known here.
    """
    state = extract_state(content, str(path))
    for name in (source, path.parent.name if is_published(state) else None):  # the Hub's folders have these names
        if name in PUBLISHED:
            published = PUBLISHED[name]
            return {"model": published.model, "head": published.head, "resolution": published.resolution}
    config = config_of(content)
    if "model" in config and "head" in config:
        return {key: config.get(key, DEFAULT_RESOLUTION) for key in ("model", "head", "resolution")}
    found = identify(state)
    if found.model is None or not found.heads:
        raise WeightsError(f"{path} does not say its model, and {found.in_words()}; pass --model and --dataset")
    head = found.heads[0] if len(found.heads) == 1 else None
    return {"model": found.model, "head": head, "resolution": DEFAULT_RESOLUTION}
