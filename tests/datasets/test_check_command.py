"""The command that checks a dataset."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from spoilt import cut

from datasets import check

ROOT = Path(__file__).parents[2]
CELEB, IMAGES = "celebamask_hq", "CelebA-HQ-img"


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """The command in this process, with a .env of its own: exit code, what it printed, and its errors."""
    monkeypatch.delenv("DATA_PATH", raising=False)
    monkeypatch.setattr(check, "ENVIRONMENT_FILE", tmp_path / "code" / ".env")
    (tmp_path / "code").mkdir()

    def call(*flags):
        monkeypatch.setattr("sys.argv", ["check", *map(str, flags), "--workers", "0"])
        with pytest.raises(SystemExit) as ended:
            check.main()
        return (ended.value.code, *capsys.readouterr())

    return call


def test_exit_code_tells_whether_there_are_problems(copy, command):
    root = copy("lapa")
    code, out, err = command("--dataset", "LaPa", "--root", root)
    assert code == 0
    assert out.endswith(f"{root}: no problem\n")
    assert "7/7" in err
    cut(root / "val/images/0_0.jpg")
    code, out, _ = command("--dataset", "LaPa", "--root", root)
    assert code == 1
    assert out.startswith(f"{root / 'val/images/0_0.jpg'}: found a picture that cannot be read")
    assert out.endswith(f"{root}: 1 problem\n")
    cut(root / "val/images/1_0.jpg")
    assert command("--dataset", "LaPa", "--root", root)[1].endswith(f"{root}: 2 problems\n")
    assert command("--dataset", "LaPa", "--root", root / "none")[0] == 1


def test_the_folder_is_that_of_data_path(roots, command, monkeypatch, tmp_path):
    data_path = roots["lapa"].parent
    assert command("--dataset", "lapa", "--data_path", data_path)[0] == 0
    monkeypatch.setenv("DATA_PATH", str(data_path))
    assert f"{roots['helen']}: no problem" in command("--dataset", "helen")[1]


def test_the_folder_is_that_of_the_file_unless_the_environment_has_one(roots, command, monkeypatch, tmp_path):
    shutil.copytree(roots["helen"], tmp_path / "faces" / "HELEN")
    check.ENVIRONMENT_FILE.write_text("DATA_PATH=../faces\n")  # starts at the file
    code, out, _ = command("--dataset", "helen")
    assert code == 0
    assert Path(out.splitlines()[-1].partition(":")[0]).resolve() == tmp_path / "faces" / "HELEN"
    monkeypatch.setenv("DATA_PATH", str(roots["lapa"].parent))
    assert f"{roots['helen']}: no problem" in command("--dataset", "helen")[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--dataset"),
        (["--dataset", "ffhq"], "unknown dataset 'ffhq'"),
        (["--dataset", "lapa", "--workers", "-1"], "whole number from 0"),
        (["--dataset", "lapa", "--root", "a", "--data_path", "b"], "not allowed with"),
        (["--dataset", "lapa"], "DATA_PATH is not set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told(flags, message, command):
    code, _, err = command(*flags)
    assert code == 2
    assert message in err


def test_a_file_of_settings_wants_its_package(command, monkeypatch):
    check.ENVIRONMENT_FILE.write_text("DATA_PATH=data\n")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    code, _, err = command("--dataset", "lapa")
    assert code == 2
    assert "pip install python-dotenv" in err


@pytest.fixture
def stuck(copy):
    """The command in a process group of its own, once its workers wait for a file that never comes."""
    root = copy(CELEB)
    (root / IMAGES / "0.jpg").unlink()
    os.mkfifo(root / IMAGES / "0.jpg")
    command = [sys.executable, "-m", "datasets.check", "--dataset", CELEB, "--root", str(root), "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.stderr.read(1) != "%":
        assert process.poll() is None
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.03, 0.3])  # the first while workers are being started
def test_ctrl_c_ends_it_with_one_word(stuck, delay):
    time.sleep(delay)
    os.killpg(stuck.pid, signal.SIGINT)
    _, err = stuck.communicate(timeout=60)
    assert stuck.returncode == 130
    assert err.endswith("\nstopped\n")
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_worker_that_dies_is_one_message(stuck):
    children = Path(f"/proc/{stuck.pid}/task/{stuck.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    _, err = stuck.communicate(timeout=60)
    assert stuck.returncode == 1
    assert re.search(r"error: a process that read was killed.*--workers 0", err)
    assert "Traceback" not in err
