"""Samples of real photographs against golden ones; collected only where SEGFACE_SHARED names the reference data."""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets import LABELS, create_dataset
from datasets.transforms import normalize

SHARED = Path(os.environ["SEGFACE_SHARED"])
CASES = [
    ("celebamask_hq", "test", "celebamask_hq"),
    ("celebamask_hq", "train", "celebamask_hq_train"),
    ("lapa", "test", "lapa"),
    ("helen", "test", "helen"),
    ("helen", "train", "helen_train"),
]


@pytest.mark.parametrize("resolution", [224, 512])
@pytest.mark.parametrize(("name", "split", "file"), CASES)
def test_samples_are_the_golden_ones(name, split, file, resolution):
    golden = np.load(SHARED / "reference" / "golden_data" / f"{file}_{resolution}.npz")
    dataset = create_dataset(name, SHARED / "data" / LABELS[name].folder, split, resolution, augment=False)
    assert [sample["name"] for sample in dataset] == golden["names"].tolist()
    for i, sample in enumerate(dataset):
        image = normalize(sample["image"][None])[0, :, ::4, ::4].numpy()
        assert np.abs(image - golden[f"image_{i}"]).max() <= 1e-6
        assert (sample["label"].numpy() == golden[f"label_{i}"]).all()
        assert (sample["landmarks"].numpy() == golden[f"landmarks_{i}"]).all()
