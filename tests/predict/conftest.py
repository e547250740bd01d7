"""predict.py in this process, with a model of colours."""

import sys

import pytest
from colours import ColourModel, face_map, painted
from PIL import Image

import predict
from utils import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run predict.py in this process with a model of colours; its exit code and what it printed."""

    def call(*flags, model=None, output=None):
        model = model or ColourModel(resolution=64)
        monkeypatch.setattr("utils.parser.open_model", lambda *_, **__: model)
        monkeypatch.setattr("predict.keep_freed_memory", lambda: None)
        arguments = ["predict.py", "--output", str(output or tmp_path / "out"), *map(str, flags)]
        monkeypatch.setattr(sys, "argv", arguments)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.run(predict.main)
        return end.value.code, "".join(capsys.readouterr())

    return call


@pytest.fixture
def pictures(tmp_path):
    """A folder with pictures of several sizes."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, size in (("a.png", (96, 96)), ("b c.bmp", (70, 120)), ("sub/é.png", (64, 64)), ("sub/a.webp", (40, 90))):
        picture = Image.fromarray(painted(face_map(64))).resize(size[::-1], Image.Resampling.NEAREST)
        picture.save(folder / name, **({"lossless": True} if name.endswith("webp") else {}))
    return folder
