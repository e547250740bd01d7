"""Reading and writing weights: our files, the published ones, and the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from network.backbones import BACKBONES, create_encoder
from network.errors import ModelError, WeightsError, misfit, summary
from network.files import read_file
from network.naming import ENCODER, PUBLISHED_ENCODER, TABLES, State, from_published, to_published
from network.segface import HEADS, SegFace
from network.writing import replacing

STATE_KEY = "state_dict_backbone"
DDP_PREFIX = "module."
HUB_REPOSITORY = "kartiknarayan/SegFace"


@dataclass(frozen=True)
class Published:
    """One checkpoint of the paper's authors on the Hub. Mean F1 in percent, on its dataset's test split."""

    dataset: str
    model: str
    head: str
    resolution: int
    mean_f1: float | None

    def filename(self, name: str) -> str:
        return f"{name}/model_299.pt"


PUBLISHED = {
    "convnext_celeba_512": Published("celebamask_hq", "convnext_base", "segface_celeb", 512, 89.22),
    "efficientnet_celeba_512": Published("celebamask_hq", "efficientnet", "segface_celeb", 512, 88.94),
    "mobilenet_celeba_512": Published("celebamask_hq", "mobilenet", "segface_celeb", 512, 87.91),
    "resnet_celeba_512": Published("celebamask_hq", "resnet", "segface_celeb", 512, 87.50),
    "swinb_celeba_224": Published("celebamask_hq", "swin_base", "segface_celeb", 224, 87.47),
    "swinb_celeba_256": Published("celebamask_hq", "swin_base", "segface_celeb", 256, 87.66),
    "swinb_celeba_448": Published("celebamask_hq", "swin_base", "segface_celeb", 448, 88.77),
    "swinb_celeba_512": Published("celebamask_hq", "swin_base", "segface_celeb", 512, 88.96),
    "swinv2b_celeba_512": Published("celebamask_hq", "swinv2_base", "segface_celeb", 512, 88.73),
    "swinb_lapa_224": Published("lapa", "swin_base", "segface_lapa", 224, 92.50),
    "swinb_lapa_256": Published("lapa", "swin_base", "segface_lapa", 256, 92.61),
    "swinb_lapa_448": Published("lapa", "swin_base", "segface_lapa", 448, 93.03),
    "swinb_lapa_512": Published("lapa", "swin_base", "segface_lapa", 512, 93.03),
    "swinb_helen_512": Published("helen", "swin_base", "segface_helen", 512, None),
}


def load_weights(model: SegFace, source: str | Path | Mapping[str, Any]) -> SegFace:
    """Load the weights of a SegFace, strictly, and return it.

    ``source`` is the path of one of our checkpoints or of a published file, a name of ``PUBLISHED`` (fetched into the
    Hub's cache), a state dict in either naming, or a checkpoint dict that holds one under ``state_dict_backbone``.

    Raises FileNotFoundError for a path that does not exist, ConnectionError where the Hub cannot be reached, and
    WeightsError for a file that is no checkpoint, holds more than tensors and plain values, or does not fit the model:
    the error lists the missing, surplus and misshapen tensors and says what the file seems to hold.
    """
    if isinstance(source, Mapping):
        content, origin = source, "the state dict"
    else:
        path = resolve_source(source)
        content, origin = read_file(path), str(path)
    head = config_of(content).get("head", model.config["head"])
    if head != model.config["head"]:
        raise WeightsError(f"{origin} was trained with head {head}; the model has head {model.config['head']}")
    state = extract_state(content, origin)
    wanted = model.state_dict()
    if is_published(state):
        expected = state_in_published_naming(model, wanted) if model.config["model"] in BACKBONES else {}
        check_fit(model, state, expected, origin)
        timm_keys = [key.removeprefix(ENCODER) for key in wanted if key.startswith(ENCODER)]
        state = from_published(state, *published_terms(model), timm_keys)
    else:
        check_fit(model, state, wanted, origin)
        state = {key: value for key, value in state.items() if key in wanted}
    model.load_state_dict(state)
    return model


def published_terms(model: SegFace) -> tuple[str, tuple[str, ...]]:
    """What the published naming of a model depends on: its torchvision encoder and its classes' names."""
    return BACKBONES[model.config["model"]].torchvision, HEADS[model.config["head"]].class_names


def state_in_published_naming(model: SegFace, state: State) -> dict[str, torch.Tensor]:
    """A state dict of ``model`` under the names of the published files, complete for the original code."""
    if model.config["model"] not in BACKBONES:
        raise ModelError(f"the published naming does not know the encoder {model.config['model']}")
    return to_published(state, *published_terms(model))


def save_weights(model: SegFace, path: str | Path, naming: str = "segface") -> None:
    """Write the weights of a SegFace, in our ``naming`` or, for the original code, the ``"published"`` one.

    The file is a dict with the tensors under ``state_dict_backbone`` and the model's ``config``. It replaces what lies
    at ``path`` only when it is complete. Raises ModelError for an encoder that the published naming does not know.
    """
    state = model.state_dict()
    if naming == "published":
        state = state_in_published_naming(model, state)
    elif naming != "segface":
        raise ModelError(f"unknown naming {naming!r}; choose segface or published")
    # Views of a larger tensor would be written with all of its storage.
    state = {key: value.detach().clone() for key, value in state.items()}
    with replacing(Path(path)) as file:
        torch.save({STATE_KEY: state, "config": dict(model.config)}, file)


def resolve_source(source: str | Path) -> Path:
    """The file of a path or of a published name, which the Hub's cache holds or is fetched into, with progress."""
    if str(source) not in PUBLISHED or Path(source).is_file():
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"no weights at {source}; expected a file or one of the published names {', '.join(PUBLISHED)}"
            )
        return Path(source)
    from huggingface_hub import hf_hub_download

    filename = PUBLISHED[str(source)].filename(str(source))
    try:
        return Path(hf_hub_download(HUB_REPOSITORY, filename))
    except OSError as error:  # what huggingface_hub raises derives from it, and so do its connection errors
        reason = str(error).rstrip(".")
        raise ConnectionError(
            f"cannot fetch {filename} of the Hub repository {HUB_REPOSITORY}: {reason}. On a machine without network, "
            f"fetch https://huggingface.co/{HUB_REPOSITORY}/resolve/main/{filename} elsewhere and pass its path"
        ) from error


def extract_state(content: Mapping[str, Any], origin: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint dict, or of a bare state dict, without the prefix of a DDP wrapper."""
    state = content.get(STATE_KEY, content)
    if not isinstance(state, Mapping) or not is_state_dict(state):
        raise WeightsError(
            f"{origin} is no SegFace checkpoint: it has the keys {summary(list(content))}; expected tensors, "
            f"or a dict of tensors under {STATE_KEY!r}"
        )
    if all(key.startswith(DDP_PREFIX) for key in state):
        state = {key.removeprefix(DDP_PREFIX): value for key, value in state.items()}
    return dict(state)


def is_state_dict(state: Mapping) -> bool:
    return bool(state) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())


def config_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that a checkpoint dict carries; empty for a published file or a bare state dict."""
    config = content.get("config")
    return config if isinstance(config, Mapping) else {}


def is_published(state: State) -> bool:
    """Whether a state dict has the published names."""
    return any(key.startswith((PUBLISHED_ENCODER, "face_decoder.")) for key in state)


def check_fit(model: SegFace, state: State, expected: State, origin: str) -> None:
    """Raise ValueError if the names and shapes of a file are not those expected, in the file's own naming."""
    problems = misfit(state, expected, optional=TABLES)
    if problems:
        raise WeightsError(
            f"{origin} does not fit model {model.config['model']} with head {model.config['head']}: "
            f"{identify(state).in_words()}\n{problems}"
        )


@dataclass(frozen=True)
class Identity:
    """What a state dict seems to be of: a model of BACKBONES or None, and the heads with its number of classes."""

    model: str | None
    heads: tuple[str, ...]
    num_classes: int

    def in_words(self) -> str:
        model = f"model {self.model}" if self.model else "no model known here"
        head = f"head {' or '.join(self.heads)}" if self.heads else "no head known here"
        return f"it seems to hold {model} with {head} ({self.num_classes} class tokens)"


def identify(state: State) -> Identity:
    """Which model and heads a state dict, in either naming, seems to be of."""
    published = is_published(state)
    if "decoder.class_tokens" in state:
        classes = len(state["decoder.class_tokens"])
    else:
        classes = sum(key.endswith("_token.weight") for key in state)
    heads = tuple(name for name, head in HEADS.items() if len(head.class_names) == classes)
    prefix = PUBLISHED_ENCODER if published else ENCODER
    found = {(key, value.shape) for key, value in state.items() if key.startswith(prefix)}
    likeness = {}
    for name, spec in BACKBONES.items():
        with torch.device("meta"):
            encoder = create_encoder(name, resolution=224, pretrained="none").body.state_dict()
        like = {ENCODER + key: value for key, value in encoder.items()}
        if published:
            like = to_published(like, spec.torchvision, ())
        shapes = {(key, value.shape) for key, value in like.items()}
        likeness[name] = len(found & shapes) / len(found | shapes)
    best = max(likeness, key=likeness.__getitem__)
    return Identity(best if likeness[best] > 0.5 else None, heads, classes)
