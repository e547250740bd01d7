"""Names of weights: ours (timm's inside the encoder) <-> torchvision's <-> those of the published checkpoints."""

import re
from collections.abc import Iterable, Mapping

import torch
import torchvision
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

State = Mapping[str, torch.Tensor]

# Not weights: tables that every Swin makes for itself. A file may hold them or not.
TABLES = ("relative_position_index", "relative_coords_table")

# torchvision encoders whose tensors have the same order as timm's; the others are renamed by the rules below.
SAME_ORDER = ("mobilenet", "efficientnet")
TORCHVISION_RULES = {
    "swin": (
        (r"^features\.0\.0\.", "patch_embed.proj."),
        (r"^features\.0\.2\.", "patch_embed.norm."),
        (r"^features\.(\d)\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
        (r"^features\.(\d)\.", lambda m: f"layers.{int(m[1]) // 2}.downsample."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.3\.", ".mlp.fc2."),
    ),
    "convnext": (
        (r"^features\.0\.", "stem."),
        (r"^features\.([1357])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks."),
        (r"^features\.([246])\.", lambda m: f"stages.{int(m[1]) // 2}.downsample."),
        (r"\.block\.0\.", ".conv_dw."),
        (r"\.block\.2\.", ".norm."),
        (r"\.block\.3\.", ".mlp.fc1."),
        (r"\.block\.5\.", ".mlp.fc2."),
        (r"\.layer_scale$", ".gamma"),
    ),
    "resnet": (),
}

# The published files hold the encoder as a Sequential of torchvision's children.
RESNET_CHILDREN = {"0.": "conv1.", "1.": "bn1.", "4.": "layer1.", "5.": "layer2.", "6.": "layer3.", "7.": "layer4."}
PUBLISHED_CHILDREN = {
    "swin": {"0.": "features.", "1.": "norm."},
    "convnext": {"0.": "features."},
    "resnet": RESNET_CHILDREN,
    "mobilenet": {"": "features."},
    "efficientnet": {"": "features."},
}

# Everything behind the encoder but the class tokens: published prefix -> our prefix.
PUBLISHED_PREFIXES = {
    **{f"linear_c.{level}.proj.": f"fusion.project.{level}." for level in range(4)},
    "linear_fuse.": "fusion.mix.",
    "pe_layer.positional_encoding_gaussian_matrix": "decoder.position_encoding.gaussian_matrix",
    "face_decoder.transformer.": "decoder.transformer.",
    "face_decoder.output_upscaling.0.": "decoder.mask_head.upscale1.",
    "face_decoder.output_upscaling.1.": "decoder.mask_head.norm.",
    "face_decoder.output_upscaling.3.": "decoder.mask_head.upscale2.",
    **{f"face_decoder.output_hypernetwork_mlps.layers.{i}.": f"decoder.mask_head.mlp.{2 * i}." for i in range(3)},
}
ENCODER, PUBLISHED_ENCODER = "encoder.body.", "backbone."


def by_family(table: Mapping, torchvision_name: str):
    return next(value for family, value in table.items() if torchvision_name.startswith(family))


def torchvision_features(name: str) -> dict[str, torch.Tensor]:
    """Names and shapes of a torchvision encoder's state dict, without its classifier, as tensors without storage."""
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    return {key: value for key, value in state.items() if not key.startswith(("classifier.", "head.", "fc."))}


def torchvision_names(name: str, timm_keys: Iterable[str]) -> dict[str, str]:
    """Torchvision's names of an encoder's tensors to timm's; ``timm_keys`` are those of the model, in its order."""
    features = torchvision_features(name)
    if name.startswith(SAME_ORDER):
        return dict(zip(features, timm_keys, strict=True))
    names = {}
    for key in features:
        names[key] = key
        for pattern, replacement in by_family(TORCHVISION_RULES, name):
            names[key] = re.sub(pattern, replacement, names[key])
    return names


def torchvision_to_timm(state: State, name: str, timm_keys: Iterable[str]) -> dict[str, torch.Tensor]:
    """Rename an encoder's state dict from torchvision's names to timm's; an unknown name is left as it is.

    Swin V2's one ``qkv.bias`` becomes a q and a v bias (its middle third is forced to zero in use), ConvNeXt's
    ``layer_scale`` (C, 1, 1) becomes ``gamma`` (C). Swin's tables and its unused final norm are left out.
    """
    names = torchvision_names(name, timm_keys)
    renamed = {}
    for key, value in state.items():
        ours = names.get(key, key)
        if key.endswith(TABLES) or key.startswith("norm."):
            continue
        if name.startswith("swin_v2") and key.endswith("attn.qkv.bias"):
            q_bias, _, v_bias = value.chunk(3)
            renamed[ours.replace("qkv.bias", "q_bias")], renamed[ours.replace("qkv.bias", "v_bias")] = q_bias, v_bias
        elif key.endswith("layer_scale"):
            renamed[ours] = value.flatten()
        else:
            renamed[ours] = value
    return renamed


def timm_to_torchvision(state: State, name: str) -> dict[str, torch.Tensor]:
    """The way back, complete: with Swin's tables, and its unused final norm as an identity."""
    features = torchvision_features(name)
    like = next(iter(state.values()))
    tables = swin_tables(features)
    complete = {}
    for theirs, ours in torchvision_names(name, state).items():
        if ours in state:
            complete[theirs] = state[ours].reshape(features[theirs].shape)
        elif theirs in tables:
            complete[theirs] = tables[theirs].to(like.device)
        elif theirs in ("norm.weight", "norm.bias"):
            complete[theirs] = like.new_full(features[theirs].shape, float(theirs == "norm.weight"))
        else:
            q_bias, v_bias = (state[ours.replace("qkv.bias", part)] for part in ("q_bias", "v_bias"))
            complete[theirs] = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    return complete


def swin_tables(features: State) -> dict[str, torch.Tensor]:
    """The tables that torchvision keeps in the state dict of a Swin; they depend on the side of its windows alone."""
    names = [key for key in features if key.endswith(TABLES)]
    if not names:
        return {}
    window = round(next(features[key].numel() for key in names if key.endswith("_index")) ** 0.25)
    attention = ShiftedWindowAttentionV2(dim=1, window_size=[window, window], shift_size=[0, 0], num_heads=1)
    buffers = dict(attention.named_buffers())
    return {key: buffers[key.rpartition(".")[2]] for key in names}


def from_published(
    state: State, torchvision_name: str, class_names: Iterable[str], timm_keys: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Rename a published SegFace state dict to ours. Class tokens are stacked in the order of ``class_names``."""
    tokens = {f"face_decoder.{name}_token.weight" for name in class_names}
    encoder, renamed = {}, {}
    for key, value in state.items():
        if key.startswith(PUBLISHED_ENCODER):
            children = by_family(PUBLISHED_CHILDREN, torchvision_name)
            encoder[swap_prefix(key.removeprefix(PUBLISHED_ENCODER), children)] = value
        elif key not in tokens:
            renamed[swap_prefix(key, PUBLISHED_PREFIXES)] = value
    encoder = torchvision_to_timm(encoder, torchvision_name, timm_keys)
    renamed |= {ENCODER + key: value for key, value in encoder.items()}
    renamed["decoder.class_tokens"] = torch.cat([state[f"face_decoder.{name}_token.weight"] for name in class_names])
    return renamed


def to_published(state: State, torchvision_name: str, class_names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Rename our state dict to the published names: what the original code loads strictly."""
    encoder = {key.removeprefix(ENCODER): value for key, value in state.items() if key.startswith(ENCODER)}
    children = {theirs: child for child, theirs in by_family(PUBLISHED_CHILDREN, torchvision_name).items()}
    published = {
        PUBLISHED_ENCODER + swap_prefix(key, children): value
        for key, value in timm_to_torchvision(encoder, torchvision_name).items()
    }
    prefixes = {ours: theirs for theirs, ours in PUBLISHED_PREFIXES.items()}
    for key, value in state.items():
        if key == "decoder.class_tokens":
            published |= {
                f"face_decoder.{name}_token.weight": token[None] for name, token in zip(class_names, value, strict=True)
            }
        elif not key.startswith(ENCODER):
            published[swap_prefix(key, prefixes)] = value
    return published


def swap_prefix(key: str, prefixes: Mapping[str, str]) -> str:
    """``key`` with the first of ``prefixes`` that fits replaced."""
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key[len(old) :]
    return key
