"""Number formats and memory layout of the computation: mixed precision, TF32, channels last."""

import os
import shutil
from dataclasses import dataclass

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn

from utils.errors import SettingsError

AMP_TYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """How a model is computed on a device. ``amp`` is a key of AMP_TYPES; weights and loss are always float32."""

    device: torch.device
    amp: str = "off"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.amp == "bf16" and self.device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise SettingsError(f"{torch.cuda.get_device_name(self.device)} has no bfloat16; use --amp fp16 or off")

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, AMP_TYPES[self.amp], enabled=self.amp != "off")

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps the small gradients of float16 from vanishing; does nothing in the other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.amp == "fp16")

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def compiled(model: nn.Module, device: torch.device, cuda_graphs: bool = False) -> nn.Module:
    """The model as torch.compile makes it. Raises SettingsError where there is nothing to compile with.

    ``cuda_graphs`` replays a recording of a GPU's work, for small batches of one size, where a GPU waits for Python.
    """
    if device.type == "cpu" and not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
        raise SettingsError("--compile needs a C++ compiler on a CPU; install g++, or leave --compile out")
    return torch.compile(model, mode="reduce-overhead" if cuda_graphs and device.type == "cuda" else "default")


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with BatchNorm over the batches of all ranks. Raises SettingsError where PyTorch has none."""
    if device.type != "cuda":
        raise SettingsError(f"--sync_bn needs GPUs: PyTorch has no synchronised BatchNorm on {device.type}")
    return convert_sync_batchnorm(model)  # timm's, as torch's would lose the activations in timm's layers
