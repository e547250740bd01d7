import json

import numpy as np
import pytest
import torch
from rebuilt import GOLDEN

from datasets import LABELS
from utils.metrics import FaceParsingMetrics, count_pairs, count_pairs_on_cpu
from utils.report import score_table

CASES = json.loads((GOLDEN / "metrics.json").read_text())


def golden_maps(case):
    generator, side = np.random.default_rng(case["seed"]), case["resolution"] // 8
    weights = 1 / np.arange(1, case["num_classes"] + 1) ** 1.5
    shape = (case["images"], side, side)
    truth = generator.choice(case["num_classes"], shape, p=weights / weights.sum())
    noise = generator.choice(case["num_classes"], shape)
    prediction = np.where(generator.random(shape) < case["p"], noise, truth)
    return (torch.from_numpy(maps.repeat(8, 1).repeat(8, 2)) for maps in (prediction, truth))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 4])
def test_published_scores_are_reproduced(name, batch):
    case = CASES[name]
    metrics = FaceParsingMetrics(name)
    prediction, truth = golden_maps(case)
    for p, t in zip(prediction.split(batch), truth.split(batch), strict=True):
        metrics.update(p, t.to(torch.uint8))
    scores = metrics.compute()
    expected_f1, expected_iou = case["expected"]["f1"], case["expected"]["iou"]
    f1 = {**scores["f1"], **scores["group_f1"], "Mean_F1": scores["mean_f1"]}
    assert f1 == pytest.approx(expected_f1, abs=1e-12)
    means = {"Pixel accuracy": "pixel_accuracy", "Mean accuracy": "mean_accuracy", "Mean IU": "mean_iou"}
    iou = {**scores["iou"], **{theirs: scores[ours] for theirs, ours in means.items()}}
    assert iou == pytest.approx({key: value / 100 for key, value in expected_iou.items()}, abs=1e-12)
    assert scores["num_images"] == case["images"]


def test_class_in_neither_map_is_absent_and_left_out_of_the_means():
    metrics = FaceParsingMetrics("celebamask_hq")
    truth = torch.tensor([[[0, 2, 2, 16]]])
    metrics.update(torch.tensor([[[0, 2, 0, 16]]]), truth)
    scores = metrics.compute()
    assert scores["f1"]["neck"] is None
    assert scores["iou"]["neck"] is None
    assert scores["f1"]["skin"] == pytest.approx(2 / 3)
    assert scores["mean_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["long_tail_f1"] == 1
    assert scores["mean_iou"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert "absent" in score_table(scores, LABELS["celebamask_hq"])
    json.dumps(scores, allow_nan=False)


def test_predicted_class_that_is_not_there_has_f1_zero():
    metrics = FaceParsingMetrics("lapa")
    metrics.update(torch.tensor([[[1, 3]]]), torch.tensor([[[1, 1]]]))
    assert metrics.compute()["f1"]["rb"] == 0


def test_nothing_counted_gives_no_scores():
    scores = FaceParsingMetrics("helen").compute()
    assert scores["mean_f1"] is None
    assert scores["pixel_accuracy"] is None
    assert scores["group_f1"]["overall"] is None
    assert scores["num_images"] == 0


def test_ignored_pixels_do_not_count():
    counted, ignoring = FaceParsingMetrics("lapa"), FaceParsingMetrics("lapa")
    prediction, truth = torch.randint(0, 11, (2, 2, 8, 8))
    counted.update(prediction[:, :4], truth[:, :4])
    truth[:, 4:] = 255
    ignoring.update(prediction, truth)
    assert ignoring.compute() == counted.compute()


def test_confusions_inside_a_group_are_hits():
    metrics = FaceParsingMetrics("helen")
    metrics.update(torch.tensor([[[4, 5, 0]]]), torch.tensor([[[5, 4, 4]]]))
    scores = metrics.compute()
    assert scores["f1"]["le"] == 0
    assert scores["group_f1"]["eyes"] == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5), r"\(1, 4, 4\).*\(1, 4, 5\)"),
        (torch.full((1, 4, 4), 11), torch.zeros(1, 4, 4), "prediction values from 11 to 11; LaPa has classes 0 to 10"),
        (torch.zeros(1, 4, 4), torch.full((1, 4, 4), 12), "label values from 12 to 12"),
        (torch.full((1, 4, 4), -1), torch.zeros(1, 4, 4), "prediction values from -1"),
    ],
)
def test_maps_that_cannot_be_counted_are_refused(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        FaceParsingMetrics("lapa").update(prediction.long(), truth.long())


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 33, 50), (1, 64, 128), (0, 8, 8)])
@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_counts_are_those_of_numpy(name, shape, dtype):
    K = LABELS[name].num_classes
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, K, (2, *shape))
    truth[..., ::5] = 255
    metrics = FaceParsingMetrics(name)
    metrics.update(torch.from_numpy(prediction).to(dtype), torch.from_numpy(truth.astype(np.uint8)))
    counted = truth != 255
    expected = np.bincount(K * truth[counted] + prediction[counted], minlength=K * K)
    assert (metrics.confusion.flatten().numpy() == expected).all()


def test_a_device_without_opencv_counts_the_same():
    truth, prediction = torch.randint(0, 19, (2, 2, 40, 50))
    truth[0, :3] = 255
    arguments = (truth.to(torch.uint8), prediction, 19)
    assert torch.equal(count_pairs(*arguments), count_pairs_on_cpu(*arguments))


@pytest.mark.parametrize("value", [-1, 11, 255, 65536 + 3])
def test_of_a_map_with_a_wrong_value_nothing_is_counted(value, monkeypatch):
    monkeypatch.setattr("utils.metrics.PIXELS_AT_ONCE", 1000)
    metrics, prediction = FaceParsingMetrics("helen"), torch.full((3, 100, 100), 4)
    prediction[2, 99, 99] = value
    with pytest.raises(ValueError, match="prediction values from"):
        metrics.update(prediction, torch.full((3, 100, 100), 7))
    assert metrics.confusion.sum() == metrics.num_images == 0


def test_counts_of_parts_add_up(monkeypatch):
    monkeypatch.setattr("utils.metrics.PIXELS_AT_ONCE", 1000)
    metrics = FaceParsingMetrics("helen")
    metrics.update(torch.full((3, 100, 100), 4), torch.full((3, 100, 100), 7))
    assert metrics.confusion[7, 4] == metrics.confusion.sum() == 30_000
