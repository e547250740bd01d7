"""Which pictures of a split to look at, and what a model makes of them."""

import torch
from torch import nn

from datasets import FaceParsingDataset
from datasets.labels import IGNORE
from network import label_map
from utils.distributed import World
from utils.engine import to_device
from utils.visualize import GalleryRow

LOOKED_AT = 100  # pictures among which to find the rare classes


def choose(dataset: FaceParsingDataset, count: int) -> list[int]:
    """Indices of ``count`` samples, rising: those that show the most classes together, then the earliest others.

    Of the first hundred samples, each time the one that adds the most classes is taken.
    """
    shown = {i: set(dataset[i]["label"].unique().tolist()) - {IGNORE} for i in range(min(len(dataset), LOOKED_AT))}
    taken, seen = [], set()
    while shown and len(taken) < count:
        best = max(shown, key=lambda index: len(shown[index] - seen))
        if not shown[best] - seen:
            break
        taken.append(best)
        seen |= shown.pop(best)
    others = [index for index in range(len(dataset)) if index not in taken]
    return sorted(taken + others[: count - len(taken)])


@torch.inference_mode()
def predict(model: nn.Module, dataset: FaceParsingDataset, indices: list[int], world: World) -> list[GalleryRow]:
    """The samples of a dataset with what the model predicts for them, one by one."""
    model.eval()
    rows = []
    for index in indices:
        sample = dataset[index]
        batch = {key: sample[key][None] for key in ("image", "label", "landmarks")}
        images, _, landmarks = to_device(batch, world.device)
        prediction = label_map(model(images, landmarks))[0].cpu().numpy()
        rows.append(
            GalleryRow(sample["name"], sample["image"].permute(1, 2, 0).numpy(), sample["label"].numpy(), prediction)
        )
    return rows
