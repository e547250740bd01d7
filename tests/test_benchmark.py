"""The benchmark runs and says what it measured; the speeds themselves are the machine's."""

import json

import pytest

from datasets import LABELS, DataError
from scripts import benchmark

ROWS = ("no cache", "labels cached", "labels and samples cached")
QUICK = ("--input_resolution", "32", "--samples", "4", "--seconds", "0", "--repeat", "3")


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command in this process, with a folder of its own for temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)

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
    assert "Pillow" in out
    result = json.loads((tmp_path / "speed.json").read_text())
    assert set(result["machine"]) == {"cpu", "python", "Pillow", "numpy", "torch"}
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

    assert benchmark.samples_per_second(Three(), 7, seconds=0) > 0
    assert read == [0, 1, 2, 0, 1, 2, 0]
    benchmark.samples_per_second(Three(), 1, seconds=0.01)
    assert len(read) > 20


def test_caches_that_cannot_be_written_are_not_measured(drawn_data, command, monkeypatch):
    monkeypatch.setattr("datasets.cache.RESERVE", {"labels": 2**80, "samples": 2**80})
    with pytest.raises(benchmark.SettingsError, match=r"its disk has less than .* GiB left.*Set TMPDIR"):
        command("reading", "--root", drawn_data / "CelebAMask-HQ", *QUICK)


def test_a_dataset_that_is_not_there_is_told(tmp_path, command):
    with pytest.raises(DataError, match="no such folder"):
        command("reading", "--root", tmp_path / "none", *QUICK)
