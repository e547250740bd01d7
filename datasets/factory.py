"""One function to make any of the datasets."""

from pathlib import Path

from datasets.base import FaceParsingDataset
from datasets.cache import SampleCache
from datasets.celebamask_hq import CelebAMaskHQ
from datasets.helen import Helen
from datasets.labels import canonical_name
from datasets.lapa import LaPa

DATASETS = {"celebamask_hq": CelebAMaskHQ, "lapa": LaPa, "helen": Helen}


def create_dataset(
    name: str,
    root: str | Path,
    split: str,
    resolution: int,
    augment: bool | None = None,
    seed: int = 0,
    cache: SampleCache | None = None,
) -> FaceParsingDataset:
    """A split of a dataset.

    ``name`` is a key of ``LABELS``, ``root`` the dataset's own folder, ``split`` ``train``, ``val`` or ``test``,
    ``resolution`` the side of its images in pixels. ``augment`` is by default on for ``train``; its draws come from
    ``seed``. A ``cache`` keeps what is costly to make, and changes no sample. Raises ValueError for an unknown name or
    split, and DataError for what is wrong on disk.
    """
    return DATASETS[canonical_name(name)](root, split, resolution, augment, seed, cache)
