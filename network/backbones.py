"""Encoders: one table over timm, each a network that returns four maps at strides 4, 8, 16 and 32."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
import torch
import torchvision
from torch import nn

from network.errors import ModelError, WeightsError, misfit
from network.fast_layers import with_fast_layers
from network.files import read_file
from network.naming import TABLES, torchvision_to_timm
from network.swin import pad_before_roll

STRIDES = (4, 8, 16, 32)
TIMM_PREFIX = "timm/"


@dataclass(frozen=True)
class Backbone:
    """One row of the table: which timm model, which torchvision weights, and the settings that make them equal."""

    timm: str
    torchvision: str
    channels: tuple[int, int, int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    indices: tuple[int, ...] = (0, 1, 2, 3)  # of timm's stages
    after_head_conv: bool = False  # the last map is taken after timm's conv_head and its norm


WIDE, NARROW = (128, 256, 512, 1024), (96, 192, 384, 768)
WINDOWS = {"always_partition": True, "strict_img_size": False}

BACKBONES = {
    "swin_base": Backbone("swin_base_patch4_window7_224", "swin_b", WIDE, {"drop_path_rate": 0.5, **WINDOWS}),
    "swinv2_base": Backbone("swinv2_base_window8_256", "swin_v2_b", WIDE, {"drop_path_rate": 0.5, **WINDOWS}),
    "swinv2_small": Backbone("swinv2_small_window8_256", "swin_v2_s", NARROW, {"drop_path_rate": 0.3, **WINDOWS}),
    "swinv2_tiny": Backbone("swinv2_tiny_window8_256", "swin_v2_t", NARROW, {"drop_path_rate": 0.2, **WINDOWS}),
    "convnext_base": Backbone("convnext_base", "convnext_base", WIDE, {"drop_path_rate": 0.5}),
    "convnext_small": Backbone("convnext_small", "convnext_small", NARROW, {"drop_path_rate": 0.4}),
    "convnext_tiny": Backbone("convnext_tiny", "convnext_tiny", NARROW, {"drop_path_rate": 0.1}),
    "resnet": Backbone("resnet101", "resnet101", (256, 512, 1024, 2048), {}, (1, 2, 3, 4)),
    "mobilenet": Backbone(
        "mobilenetv3_large_100",
        "mobilenet_v3_large",
        (24, 40, 112, 960),
        {"bn_eps": 1e-3, "bn_momentum": 0.01},
        (1, 2, 3, 4),
    ),
    "efficientnet": Backbone(
        "efficientnetv2_m",
        "efficientnet_v2_m",
        (48, 80, 176, 1280),
        {"drop_path_rate": 0.2, "bn_eps": 1e-3},
        (1, 2, 3, 4),
        after_head_conv=True,
    ),
}
PRETRAINED = ("torchvision", "timm", "none")


class Encoder(nn.Module):
    """A timm model without its classifier: images (B, 3, H, W) to four maps (B, C_i, H/s, W/s), s = 4, 8, 16, 32."""

    def __init__(self, body: nn.Module, channels: tuple[int, ...], indices: tuple[int, ...], after_head_conv: bool):
        super().__init__()
        self.body = body
        self.channels = channels
        self.indices = indices
        self.after_head_conv = after_head_conv

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        if images.device.type == "cpu" and not torch.is_grad_enabled():
            images = images.contiguous(memory_format=torch.channels_last)
        if self.after_head_conv:
            last, maps = self.body.forward_intermediates(images, indices=self.indices[:-1])
            return [*maps, last]
        return self.body.forward_intermediates(images, indices=self.indices, intermediates_only=True)


class PyramidEncoder(nn.Module):
    """Any timm model built with ``features_only=True``: the same maps as ``Encoder``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.channels = tuple(body.feature_info.channels())
        self.channels_last = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = self.body(images)
        return [m.permute(0, 3, 1, 2) for m in maps] if self.channels_last else maps


def check_model_name(model: str) -> None:
    """Raise ModelError unless ``model`` is a name of BACKBONES or ``timm/NAME`` with a name that timm knows."""
    name = model.removeprefix(TIMM_PREFIX)
    if model == name and model not in BACKBONES:
        raise ModelError(f"unknown model {model!r}; choose {', '.join(BACKBONES)} or {TIMM_PREFIX}NAME")
    if model != name and not timm.is_model(name):
        similar = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"similar: {', '.join(similar)}" if similar else "timm.list_models() lists them"
        raise ModelError(f"timm has no model {name!r}; {hint}")


def create_encoder(model: str, resolution: int, pretrained: str | Path = "torchvision") -> nn.Module:
    """Build an encoder with its ImageNet weights.

    ``model`` is a name of BACKBONES or ``timm/NAME``. ``pretrained``: ``"torchvision"``, the IMAGENET1K_V1 weights
    that the paper starts from; ``"timm"``, timm's own default weights for the name; ``"none"``, random; or the path
    of a state dict in timm's or torchvision's naming. The encoder has a tuple ``channels`` for strides 4 to 32.

    Raises ModelError for an unknown model, WeightsError for weights that do not exist or do not fit, FileNotFoundError
    for a path that does not exist, and ConnectionError where a download fails.
    """
    check_model_name(model)
    if model.startswith(TIMM_PREFIX):
        return create_timm_encoder(model, resolution, pretrained)
    spec = BACKBONES[model]
    if pretrained == "timm":
        body = download_timm(spec.timm, **spec.options)
    else:
        body = timm.create_model(spec.timm, pretrained=False, **spec.options)
    if spec.after_head_conv:
        body.reset_classifier(0, "")
    else:
        body.prune_intermediate_layers(list(spec.indices), prune_norm=True, prune_head=True)
        if hasattr(body, "head"):
            body.head = nn.Identity()  # ConvNeXt's final norm lies there, and some versions of timm keep it
    with_fast_layers(pad_before_roll(body))
    if pretrained == "torchvision":
        load_encoder_weights(body, model, download_torchvision(spec.torchvision), source="torchvision's weights")
    elif pretrained not in PRETRAINED:
        load_encoder_weights(body, model, read_encoder_weights(pretrained), source=str(pretrained))
    return Encoder(body, spec.channels, spec.indices, spec.after_head_conv)


def create_timm_encoder(model: str, resolution: int, pretrained: str | Path) -> PyramidEncoder:
    """An encoder over any timm model that has maps at strides 4, 8, 16 and 32."""
    name = model.removeprefix(TIMM_PREFIX)
    if pretrained == "torchvision":
        raise WeightsError(f"--pretrained torchvision has no weights for {model}; use timm, none or a path")

    def build(**kwargs: Any) -> nn.Module:
        try:  # networks of windows or absolute positions must be told the size; the others know no such argument
            return timm.create_model(name, features_only=True, img_size=resolution, **kwargs)
        except TypeError:
            return timm.create_model(name, features_only=True, **kwargs)

    try:
        info = build().feature_info
    except (RuntimeError, AttributeError) as error:
        raise ModelError(f"timm's {name} gives no feature maps ({error}); choose a model with a pyramid") from error
    reductions = info.reduction()
    if not set(STRIDES) <= set(reductions):
        raise ModelError(
            f"timm's {name} has maps at strides {', '.join(map(str, reductions))}; "
            f"SegFace needs {', '.join(map(str, STRIDES))}"
        )
    stage_of_stride = dict(zip(reductions, info.out_indices, strict=True))  # the last of several at one stride
    out_indices = [stage_of_stride[stride] for stride in STRIDES]
    if pretrained == "none":
        body = build(out_indices=out_indices)
    elif pretrained == "timm":
        require_timm_weights(name)
        body = with_download_error(lambda: build(out_indices=out_indices, pretrained=True), f"timm's weights of {name}")
    else:
        state = fitting_weights(name, read_encoder_weights(pretrained), source=str(pretrained))
        # timm itself maps a plain model's names to those of its feature maps, but would overlook what is missing.
        body = build(out_indices=out_indices, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    return PyramidEncoder(body)


def fitting_weights(name: str, state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """A state dict, if it is one of timm's plain model ``name``, whatever its classifier."""
    plain = timm.create_model(name)
    classifier = plain.pretrained_cfg.get("classifier") or ()
    classifier = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    expected, found = (
        {key: value for key, value in tensors.items() if not key.startswith(classifier)}
        for tensors in (plain.state_dict(), state)
    )
    problems = misfit(found, expected, optional=TABLES)
    if problems:
        raise WeightsError(f"{source} does not hold the weights of timm's {name}:\n{problems}")
    return dict(state)


def load_encoder_weights(body: nn.Module, model: str, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load an ImageNet state dict, in timm's or torchvision's naming, into one of the ten encoders."""
    spec = BACKBONES[model]
    wanted = body.state_dict()
    if not set(state) & set(wanted):
        state = torchvision_to_timm(state, spec.torchvision, wanted)
    classifier = ("head.", "fc.", "classifier.", "norm.", "conv_head.", "bn2.")
    state = {key: value for key, value in state.items() if key in wanted or not key.startswith(classifier)}
    problems = misfit(state, wanted, optional=(*TABLES, "attn_mask"))
    if problems:
        raise WeightsError(f"{source} does not hold the weights of encoder {model}:\n{problems}")
    body.load_state_dict({key: state[key] for key in wanted})


def read_encoder_weights(path: str | Path) -> Mapping[str, torch.Tensor]:
    """State dict of an encoder from a ``.pt``/``.pth`` file; a wrapping ``state_dict`` or ``model`` is opened."""
    content = read_file(Path(path))
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    if "state_dict_backbone" in content:
        raise WeightsError(f"{path} is a checkpoint of a whole SegFace; --pretrained takes the weights of an encoder")
    return content


def download_torchvision(name: str) -> Mapping[str, torch.Tensor]:
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    return with_download_error(
        lambda: weights.get_state_dict(progress=True),
        f"torchvision's weights of {name} from {weights.url}",
    )


def download_timm(name: str, **options: Any) -> nn.Module:
    require_timm_weights(name)
    return with_download_error(lambda: timm.create_model(name, pretrained=True, **options), f"timm's weights of {name}")


def require_timm_weights(name: str) -> None:
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.has_weights:
        raise WeightsError(f"timm has no pretrained weights for {name}; use --pretrained torchvision, none or a path")


def with_download_error(download, what: str):
    """Run ``download``; a network failure becomes one ConnectionError that says what to do."""
    try:
        return download()
    except (URLError, OSError) as error:  # huggingface_hub's and requests' errors are OSErrors
        raise ConnectionError(
            f"cannot fetch {what}: {str(error).rstrip('.')}. On a machine without network, fetch the file elsewhere "
            "and pass its path as --pretrained PATH, or start from random weights with --pretrained none"
        ) from error
