"""Face-parsing datasets on disk.

What is named here is imported when it is used, so that label tables can be had without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.base import FaceParsingDataset
    from datasets.cache import SampleCache
    from datasets.errors import DataError
    from datasets.factory import DATASETS, create_dataset
    from datasets.labels import LABELS

__all__ = ["DATASETS", "LABELS", "DataError", "FaceParsingDataset", "SampleCache", "create_dataset"]

MODULES = {
    "DATASETS": "datasets.factory",
    "LABELS": "datasets.labels",
    "DataError": "datasets.errors",
    "FaceParsingDataset": "datasets.base",
    "SampleCache": "datasets.cache",
    "create_dataset": "datasets.factory",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
