import pytest

from datasets import DATASETS, LABELS
from datasets.labels import canonical_name, dataset_root
from network import HEADS


@pytest.mark.parametrize("name", LABELS)
def test_label_table_is_consistent(name):
    labels = LABELS[name]
    assert len(labels.palette) == labels.num_classes == len(set(labels.names))
    assert len(set(labels.palette)) == labels.num_classes
    assert all(0 <= value <= 255 for colour in labels.palette for value in colour)
    members = {*labels.long_tail, *sum(labels.pairs, ()), *sum(labels.groups.values(), ())}
    assert members <= set(labels.names[1:])


@pytest.mark.parametrize("name", LABELS)
def test_head_of_a_dataset_has_as_many_classes_as_the_dataset(name):
    assert len(HEADS[LABELS[name].head].class_names) == LABELS[name].num_classes


def test_every_head_and_every_reader_has_its_dataset():
    assert {labels.head for labels in LABELS.values()} == set(HEADS)
    assert set(DATASETS) == set(LABELS)


@pytest.mark.parametrize(
    ("spelling", "name"), [("CelebAMask-HQ", "celebamask_hq"), ("CelebAMaskHQ", "celebamask_hq"), ("HELEN", "helen")]
)
def test_usual_spellings_are_understood(spelling, name):
    assert canonical_name(spelling) == name


def test_unknown_dataset_is_refused():
    with pytest.raises(ValueError, match="unknown dataset 'ibug'; choose one of celebamask_hq, lapa, helen"):
        canonical_name("ibug")


def test_dataset_folder_is_found_in_any_case(tmp_path):
    (tmp_path / "HELEN").mkdir()
    assert dataset_root(tmp_path, "helen") == tmp_path / "HELEN"
    assert dataset_root(tmp_path, "lapa") == tmp_path / "LaPa"
