"""Which pictures are shown, and with which prediction."""

import numpy as np
import pytest
import torch
from torch import nn

from datasets import create_dataset
from datasets.synthetic import Drawing, write_dataset
from utils.distributed import World
from utils.samples import choose, predict

CPU = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces") / "lapa"
    write_dataset(Drawing("lapa", train=0, val=0, test=30, size=64, seed=0), root)
    return create_dataset("lapa", root, "test", 64)


def classes(dataset, indices):
    return set(np.unique([dataset[index]["label"].numpy() for index in indices]).tolist())


def test_chosen_samples_show_every_class_there_is(faces):
    chosen = choose(faces, 4)
    assert len(chosen) == 4
    assert chosen == sorted(set(chosen))
    assert classes(faces, chosen) == set(range(11))
    closed = [index for index in range(30) if 8 not in classes(faces, [index])]
    assert closed  # so that a face that shows less than all could have been chosen
    assert choose(faces, 1)[0] not in closed


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [3]), (2, [1, 3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_samples_that_add_the_most_classes_come_first(count, expected):
    shown = ([0, 1], [0, 5], [0], [0, 1, 2, 3], [3, 6, 255])
    assert choose([{"label": torch.tensor(classes)} for classes in shown], count) == expected


@pytest.mark.parametrize("count", [1, 30, 100])
def test_as_many_are_chosen_as_there_are(faces, count):
    assert len(choose(faces, count)) == min(count, 30)


def test_predictions_are_those_of_the_model(faces):
    class BrightIsHair(nn.Module):
        def forward(self, images, landmarks):
            assert landmarks.shape == (1, 5, 2)
            assert not self.training
            bright = images.mean(1, keepdim=True)
            return torch.cat([torch.zeros_like(bright).expand(-1, 10, -1, -1), bright], 1)

    rows = predict(BrightIsHair(), faces, [3, 5], CPU)
    for index, row in zip((3, 5), rows, strict=True):
        sample = faces[index]
        assert row.name == sample["name"]
        assert np.array_equal(row.image, sample["image"].permute(1, 2, 0))
        assert np.array_equal(row.truth, sample["label"])
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        normal = (torch.from_numpy(row.image) / 255 - mean) / deviation
        hair = normal.mean(-1) > 0
        differing = (row.prediction == 10) != hair.numpy()
        assert differing.mean() < 0.001  # the last bit of a sum
        assert set(np.unique(row.prediction)) == {0, 10}
