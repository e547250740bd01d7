"""The benchmark runs and says what it measured; the speeds themselves are the machine's."""

import json
from argparse import Namespace
from functools import partial

import pytest
import torch

from datasets import LABELS, DataError
from scripts import benchmark
from scripts.benchmarks import exported, model, parts, reading, timing
from utils.errors import SettingsError

ROWS = ("no cache", "labels cached", "labels and samples cached")
QUICK = ("--input_resolution", "32", "--samples", "4", "--seconds", "0", "--repeat", "3")


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command in this process, with a folder of its own for temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for setting_of_the_process in ("torch.set_num_threads", "torch.set_flush_denormal"):
        monkeypatch.setattr(setting_of_the_process, lambda _: None)
    monkeypatch.setattr("scripts.benchmarks.evaluation.set_arithmetic", lambda *_, **__: None)

    def call(*flags):
        monkeypatch.setattr("sys.argv", ["benchmark", *map(str, flags)])
        benchmark.main()
        assert not list(temporary.iterdir())

    return call


@pytest.mark.parametrize("name", LABELS)
def test_reading_is_measured_with_and_without_caches(name, drawn_data, command, capsys, tmp_path):
    root = drawn_data / LABELS[name].folder
    command("reading", "--dataset", name, "--root", root, *QUICK, "--json", tmp_path / "speed.json")
    out = capsys.readouterr().out
    for row in ROWS:
        assert len([line for line in out.splitlines() if line.startswith(f"{row}  ")]) == 1
    assert "PIL" in out
    result = json.loads((tmp_path / "speed.json").read_text())
    assert set(result["machine"]) == {"hardware", "cpu", "python", "torch", "torchvision", "timm", "numpy", "PIL"}
    for row in ROWS:
        rates = result["rounds"][row]
        speed, ratio = (result["rows"][row][key] for key in ("samples_per_second", "ratio"))
        assert len(rates) == 3
        assert speed == {"median": sorted(rates)[1], "min": min(rates), "max": max(rates)}
        ratios = [rate / plain for rate, plain in zip(rates, result["rounds"]["no cache"], strict=True)]
        assert ratio["median"] == sorted(ratios)[1]


def test_a_small_split_is_read_over_again():
    read = []

    class Three:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            read.append(index)

    assert reading.samples_per_second(Three(), 7, seconds=0) > 0
    assert read == [0, 1, 2, 0, 1, 2, 0]
    reading.samples_per_second(Three(), 1, seconds=0.01)
    assert len(read) > 20


def test_caches_that_cannot_be_written_are_not_measured(drawn_data, command, monkeypatch):
    monkeypatch.setattr("datasets.cache.RESERVE", {"labels": 2**80, "samples": 2**80})
    with pytest.raises(SettingsError, match=r"its disk has less than .* GiB left.*Set TMPDIR"):
        command("reading", "--root", drawn_data / "CelebAMask-HQ", *QUICK)


def test_a_dataset_that_is_not_there_is_told(tmp_path, command):
    with pytest.raises(DataError, match="no such folder"):
        command("reading", "--root", tmp_path / "none", *QUICK)


SMALL = ("--model", "mobilenet", "--resolution", "64", "--repeat", "3")


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["forward", "training"])
def test_model_is_measured_beside_the_plain_one(subject, command, capsys, tmp_path):
    command(subject, *SMALL, "--batch", "1", "2", "--json", tmp_path / "speed.json")
    out = capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert [result["batch"] for result in results] == [1, 2]
    for result in results:
        assert len([line for line in out if line.startswith("mobilenet ") and f" {result['batch']} " in line]) == 1
        plain, ours = result["seconds"]["plain"], result["seconds"]["ours"]
        assert len(plain) == len(ours) == 3
        assert result["ratio"]["median"] == sorted(a / b for a, b in zip(plain, ours, strict=True))[1]
        assert result["images_per_second"] == result["batch"] / sorted(ours)[1]
        weights = 4 * 9e6 * (1 if subject == "forward" else 4) / 1e9  # in training with gradients and two averages
        assert weights < result["peak_memory_gb"]["ours"] < 2
        if subject == "forward":
            assert result["difference"] < 1e-5
            assert result["same_classes"] == 1


@pytest.mark.parametrize("name", ["plain", "ours"])
def test_peak_memory_is_of_one_model_alone(name, monkeypatch):
    built = []

    def build(args, encoder, contestant):
        built.append(contestant)
        return model.Contestant(torch.nn.Identity(), torch.nn.Identity(), None)

    monkeypatch.setattr(model, "CONTESTANTS", {n: partial(build, contestant=n) for n in model.CONTESTANTS})
    for setting_of_the_process in ("torch.set_num_threads", "torch.set_flush_denormal"):
        monkeypatch.setattr(setting_of_the_process, lambda _: None)
    args = Namespace(subject="forward", device=torch.device("cpu"), resolution=64, threads=1)
    assert model.peak_memory_here(args, "mobilenet", 1, name) >= 0
    assert built == [name]


def test_a_model_with_other_outputs_is_seen():
    plain = torch.eye(3).view(1, 3, 3, 1)
    assert model.agreement(plain, plain) == {"difference": 0, "same_classes": 1}
    other = plain.clone()
    other[0, :, 0, 0] = torch.tensor([0.0, 0.0, 1.0])
    assert model.agreement(plain, other)["same_classes"] == pytest.approx(2 / 3)
    assert model.agreement(plain, other)["difference"] == pytest.approx((2 / 3) ** 0.5)


def test_half_precision_is_measured(command, tmp_path):
    command("forward", *SMALL, "--batch", "1", "--amp", "bf16", "--no-memory", "--json", tmp_path / "speed.json")
    (result,) = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert 1e-5 < result["difference"] < 0.05
    assert result["peak_memory_gb"] == {"plain": None, "ours": None}


def test_metric_is_measured(command, capsys, tmp_path):
    command("metric", "--resolution", "96", "--batch", "1", "3", "--repeat", "3", "--json", tmp_path / "speed.json")
    assert "3 x 96 x 96" in capsys.readouterr().out
    results = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert all(result["ratio"]["median"] > 0 for result in results)


def test_parts_are_counted(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "SIDE", 64)
    monkeypatch.setattr(parts, "COPIED", 2**16)
    command("parts", *SMALL, "--json", tmp_path / "speed.json")
    assert "GFLOP/s" in capsys.readouterr().out
    counted = json.loads((tmp_path / "speed.json").read_text())["parts"]
    of_parts = ("encoder", "fusion", "transformer", "mask head")
    operations = {name: part["operations"] for name, part in counted.items()}
    assert sum(operations[name] for name in of_parts) == pytest.approx(operations["whole model"], rel=0.02)
    tokens, dim, pixels = 16 * 16, 256, 64 * 64
    of_tokens = 2 * 19 * (2 * dim * dim + dim * 32)
    of_face = 2 * tokens * dim * 256 + 2 * 4 * tokens * 64 * 128 + 2 * pixels * 32 * 19
    assert operations["mask head"] == of_tokens + of_face
    assert all(part["bytes"] > 4 * 3 * pixels for part in counted.values())


def test_traffic_is_what_operators_read_and_write():
    a, b = torch.zeros(10, 20), torch.zeros(20, 30)
    with parts.Traffic() as traffic:
        (a @ b).T[:5]
    assert traffic.bytes == 4 * (10 * 20 + 20 * 30 + 10 * 30)


def test_evaluation_is_measured_from_disk_to_scores(drawn_data, command, capsys):
    command("evaluation", "--root", drawn_data / "CelebAMask-HQ", *SMALL, "--batch", "2", "--num_workers", "0")
    assert "from disk to scores" in capsys.readouterr().out


def test_what_is_compared_takes_turns():
    calls = []
    times = timing.in_turns({name: partial(calls.append, name) for name in "ab"}, 3, torch.device("cpu"))
    assert "".join(calls[-6:]) == "ababab"
    assert all(len(values) == 3 for values in times.values())


@pytest.mark.slow
def test_onnxruntime_is_measured_beside_pytorch(command, capsys, tmp_path):
    flags = ("--resolution", "64", "--repeat", "3", "--threads", "1", "--json", tmp_path / "speed.json")
    command("onnx", "--model", "mobilenet", *flags)
    out = capsys.readouterr().out
    results = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert list(results) == ["PyTorch", "onnxruntime", "onnxruntime, int8"]
    for name, result in results.items():
        assert len([line for line in out.splitlines() if line.startswith(f"{name}  ")]) == 1
        assert result["milliseconds"]["min"] > 0
    assert results["PyTorch"]["ratio"] == {"median": 1, "min": 1, "max": 1}
    assert 0 < results["onnxruntime"]["difference"] < 1e-3
    assert results["onnxruntime, int8"]["difference"] > results["onnxruntime"]["difference"]
    assert results["onnxruntime, int8"]["megabytes"] < 0.5 * results["onnxruntime"]["megabytes"]
    with pytest.raises(SettingsError, match="choose cpu"):
        exported.measure(Namespace(device=torch.device("cuda")))
