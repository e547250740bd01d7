"""predict.py on pictures with several faces, with landmarks and with none."""

import json

import numpy as np
import pytest
from colours import ColourModel, face_map, painted
from PIL import Image
from predicted import label_map

from datasets import LABELS
from utils.inference.detection import Face

CELEB = LABELS["celebamask_hq"]


FIVE = [[26, 28], [38, 28], [32, 35], [27, 44], [37, 44]]


def test_landmarks_of_a_file(run, pictures, tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"sub/é.png": FIVE, "a.png": [[2 * x, 2 * y] for x, y in FIVE]}))
    model = ColourModel("lapa", 64, wants_landmarks=True)
    code, printed = run("--input", pictures / "sub" / "é.png", pictures / "b c.bmp", "--landmarks", path, model=model)
    assert code == 1
    np.testing.assert_allclose(model.landmarks[0][0], FIVE)
    assert "b c.bmp: found no landmarks" in printed
    code, printed = run("--input", pictures / "a.png", model=ColourModel("lapa", 64, True), output=tmp_path / "2")
    assert code == 0
    assert "as none are given" in printed
    code, printed = run("--input", pictures / "a.png", "--landmarks", path, output=tmp_path / "3")
    assert code == 1
    assert "this model needs none" in printed


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        "{",
        '{"a.png": [[1' + "0" * 400 + ", 1]]}",
        '{"a.png": [[1, 2]]}',
        '{"a.png": "x"}',
        '{"a.png": [[NaN, 1]]}',
    ],
)
def test_damaged_landmark_files(run, pictures, tmp_path, content):
    (tmp_path / "l.json").write_text(content)
    code, printed = run("--input", pictures / "a.png", "--landmarks", tmp_path / "l.json")
    assert code == 1
    assert "l.json" in printed
    assert "expected" in printed


def test_faces_of_a_file_are_cropped_with_detect(run, tmp_path):
    label = np.zeros((120, 240), np.uint8)
    small = face_map(96)
    for left in (10, 130):
        label[12:108, left : left + 96] = small
    Image.fromarray(painted(label)).save(tmp_path / "two.png")
    faces = [[[left + 1.5 * x, 12 + 1.5 * y] for x, y in FIVE] for left in (10, 130)]
    (tmp_path / "l.json").write_text(json.dumps({"two.png": faces}))
    flags = ("--input", tmp_path / "two.png", "--landmarks", tmp_path / "l.json")
    code, printed = run(*flags, "--detect", "--json", model=ColourModel(resolution=128))
    assert code == 0, printed
    found = label_map(tmp_path / "out" / "labels" / "two.png")
    features = np.isin(label, [CELEB.names.index(name) for name in ("l_eye", "r_eye", "nose", "u_lip")])
    assert (found[features] == label[features]).mean() > 0.9
    assert len(json.loads((tmp_path / "out" / "json" / "two.json").read_text())["faces"]) == 2
    code, printed = run(*flags, model=ColourModel("lapa", 64, True), output=tmp_path / "2")
    assert code == 1
    assert "landmarks of 2 faces" in printed


def test_pictures_without_a_face_are_told_of(run, pictures, tmp_path, monkeypatch):
    class Detector:
        def __init__(self, *_):
            pass

        def __call__(self, rgb):
            return [Face(np.float32(FIVE), (1.0, 2.0, 3.0, 4.0), 0.95)] if rgb.shape[0] == 64 else []

    monkeypatch.setattr("utils.parser.YuNet", Detector)
    code, printed = run("--input", pictures, "--detect", "--detector", "any", "--json")
    assert code == 0
    assert "no face found in 3" in printed
    assert (label_map(tmp_path / "out" / "labels" / "a.png") == 0).all()
    (face,) = json.loads((tmp_path / "out" / "json" / "sub" / "é.json").read_text())["faces"]
    assert face == {"box": [1, 2, 3, 4], "score": 0.95, "landmarks": FIVE}
