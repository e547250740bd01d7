"""Which pictures of a split to look at, and what a model makes of them."""

import torch
from torch import nn

from datasets import FaceParsingDataset
from utils.distributed import World
from utils.engine import to_device
from utils.visualize import GalleryRow

LOOKED_AT = 200  # pictures at most among which to find the rare classes


def choose(dataset: FaceParsingDataset, count: int) -> list[int]:
    """Indices of ``count`` samples that show as many classes as can be found, in the order of the dataset.

    The first sample is taken, then those that show a class for the first time, then the earliest of the others.
    """
    taken, seen = [], set()
    wanted = set(range(dataset.labels.num_classes))
    for index in range(min(len(dataset), LOOKED_AT)):
        if len(taken) == count or seen == wanted:
            break
        shown = set(dataset[index]["label"].unique().tolist()) & wanted
        if shown - seen:
            taken.append(index)
            seen |= shown
    others = (index for index in range(len(dataset)) if index not in taken)
    return sorted([*taken, *(index for index, _ in zip(others, range(count - len(taken)), strict=False))])


@torch.inference_mode()
def predict(model: nn.Module, dataset: FaceParsingDataset, indices: list[int], world: World) -> list[GalleryRow]:
    """The samples of a dataset with what the model predicts for them, one by one."""
    model.eval()
    rows = []
    for index in indices:
        sample = dataset[index]
        batch = {key: sample[key][None] for key in ("image", "label", "landmarks")}
        images, _, landmarks = to_device(batch, world.device)
        prediction = model(images, landmarks).argmax(1)[0].cpu().numpy()
        rows.append(
            GalleryRow(sample["name"], sample["image"].permute(1, 2, 0).numpy(), sample["label"].numpy(), prediction)
        )
    return rows
