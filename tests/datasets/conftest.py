import pytest
from people import drawing

from datasets import LABELS
from datasets.synthetic import write_dataset


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """One drawn dataset in each layout."""
    root = tmp_path_factory.mktemp("drawn")
    for layout in LABELS:
        write_dataset(drawing(layout), root / layout)
    return root
