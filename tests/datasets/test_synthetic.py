"""The command that draws a dataset: it goes on wherever it was stopped, and harms nothing that is there."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from people import SIZE, drawing, files_of

from datasets import LABELS, DataError, create_dataset, synthetic
from datasets.drawing import layouts
from datasets.synthetic import write_dataset

ROOT = Path(__file__).parents[2]


def test_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("300 pages")
    with pytest.raises(DataError, match="which was not drawn here"):
        write_dataset(drawing(), tmp_path / "mine")
    assert files_of(tmp_path) == {Path("mine/thesis.txt"): b"300 pages"}

    write_dataset(drawing(train=1, val=0, test=0), tmp_path / "faces")
    before = files_of(tmp_path / "faces")
    with pytest.raises(DataError, match=r"other settings.*\"seed\": 0"):
        write_dataset(drawing(seed=5), tmp_path / "faces")
    assert write_dataset(drawing(train=1, val=0, test=0), tmp_path / "faces") is False
    assert files_of(tmp_path / "faces") == before


def test_refuses_settings_that_cannot_be_read(tmp_path):
    (tmp_path / "synthetic.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="found no text"):
        write_dataset(drawing(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="found a file"):
        write_dataset(drawing(), tmp_path / "file")


class Stopped(BaseException):
    """A process that ends here."""


def draw_until(monkeypatch, what, out, owner, name, call):
    """Draw until just before a call of a function, as if killed there; False if there were fewer calls."""
    function, calls = getattr(owner, name), []

    def stopping(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise Stopped
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        try:
            write_dataset(what, out)
        except Stopped:
            return True
    return False


STOPS = [
    (synthetic, "draw_pictures", 1),
    (layouts, "save_label", 7),
    (layouts, "save_image", 2),
    (synthetic, "finish", 1),
    *((Path, "replace", call) for call in (1, 2, 14, 15, 16, 17)),  # settings, images, and the folders into place
    (Path, "rmdir", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS, ids=[f"{name} {call}" for _, name, call in STOPS])
@pytest.mark.parametrize("layout", LABELS)
def test_goes_on_wherever_it_was_stopped(tmp_path, drawn, layout, stop, monkeypatch):
    out = tmp_path / layout
    stopped = draw_until(monkeypatch, drawing(layout), out, *stop)
    assert stopped or stop[0] is Path  # fewer files are renamed in some layouts
    if not (out / "train").exists() and not (out / "CelebA-HQ-img").exists():
        with pytest.raises(DataError):  # nobody takes a part for the whole
            create_dataset(layout, out, "train", 32)
    whole = [path for path in out.rglob("*.jpg") if path.parent.name != layouts.WAITING]
    missing = len(list(drawing(layout).pictures())) - len(whole)
    written = []
    write = layouts.save_image
    monkeypatch.setattr(layouts, "save_image", lambda *args: (written.append(args), write(*args)))
    write_dataset(drawing(layout), out)
    assert files_of(out) == files_of(drawn / layout)
    assert len(written) == missing  # what was whole is not drawn again
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_file_beside_an_unfinished_drawing_is_not_overwritten(tmp_path, monkeypatch):
    assert draw_until(monkeypatch, drawing("helen"), tmp_path, layouts, "save_image", 3)
    (tmp_path / "landmarks.txt").write_text("mine")
    with pytest.raises(DataError, match=r"landmarks\.txt beside a drawing"):
        write_dataset(drawing("helen"), tmp_path)
    assert (tmp_path / "landmarks.txt").read_text() == "mine"


def test_a_full_disk_is_one_message_and_the_command_goes_on(tmp_path, drawn, monkeypatch, capsys):
    out = tmp_path / "lapa"
    flags = ["--layout", "lapa", "--out", str(out), "--workers", "1", "--size", str(SIZE)]
    monkeypatch.setattr("sys.argv", ["synthetic", *flags, "--train", "6", "--val", "3", "--test", "4"])
    full = OSError(28, "No space left on device", "000001.png")
    with monkeypatch.context() as patch:
        patch.setattr(layouts, "save_label", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(SystemExit, match=r"error: .*No space left on device"):
            synthetic.main()
    synthetic.main()
    assert capsys.readouterr().out.endswith("lapa: drawn\n")
    assert files_of(out) == files_of(drawn / "lapa")


def run(*flags):
    command = [sys.executable, "-m", "datasets.synthetic", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_killed_command_goes_on(tmp_path, drawn):
    flags = ["--layout", "celebamask_hq", "--out", tmp_path / "faces", "--size", SIZE, "--workers", 2]
    flags = [*map(str, flags), "--train", "6", "--val", "3", "--test", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "datasets.synthetic", *flags],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not list((tmp_path / "faces").glob("unfinished/*/*.jpg")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = run(*flags)
    assert result.returncode == 0, result.stderr
    assert files_of(tmp_path / "faces") == files_of(drawn / "celebamask_hq")


def test_a_worker_that_dies_ends_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "in_worker", partial(os._exit, 9))
    with pytest.raises(DataError, match="a process that drew was killed"):
        write_dataset(drawing(), tmp_path / "faces", workers=2)


def test_command_draws_with_a_progress_bar(tmp_path):
    result = run(
        "--layout", "LaPa", "--out", tmp_path / "a", "--train", 3, "--val", 1, "--test", 0, "--size", 64, "--workers", 2
    )
    assert result.returncode == 0, result.stderr
    assert "4/4" in result.stderr
    assert len(create_dataset("lapa", tmp_path / "a", "train", 64)) == 3
    assert json.loads((tmp_path / "a" / "synthetic.json").read_text())["size"] == 64


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "63"], "even number from 32"),
        (["--size", "60000"], "even number from 32"),
        (["--train", "-1"], "whole number from 0"),
        (["--layout", "ffhq"], "unknown dataset 'ffhq'"),
        (["--train", "0", "--val", "0", "--test", "0"], "no picture to draw"),
        (["--out", "/proc/faces"], "error: "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_command_tells_what_is_wrong(tmp_path, flags, message):
    result = run("--out", tmp_path / "new", *flags)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
