"""predict.py as its users call it, on painted pictures and a model of their colours."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from colours import ColourModel, face_map, iou, painted
from PIL import Image

import predict
from datasets import LABELS
from network import create_segface, save_weights
from utils import cli
from utils.errors import SettingsError
from utils.inference import outputs as outputs_module
from utils.inference.detection import Face
from utils.inference.models import open_model

CELEB = LABELS["celebamask_hq"]


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


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def label_map(path):
    picture = Image.open(path)
    assert picture.mode == "P"
    return np.asarray(picture)


def test_folder_of_pictures(run, pictures, tmp_path):
    code, printed = run("--input", pictures, "--batch_size", 3)
    assert code == 0, printed
    names = ("a", "b c", "sub/a", "sub/é")
    assert files(tmp_path / "out") == sorted([f"labels/{n}.png" for n in names] + [f"overlays/{n}.jpg" for n in names])
    assert "4 pictures parsed" in printed
    assert "images/s" in printed
    found = label_map(tmp_path / "out" / "labels" / "b c.png")
    assert found.shape == (70, 120)
    expected = np.asarray(Image.fromarray(face_map(64)).resize((120, 70), Image.Resampling.NEAREST))
    assert iou(found, expected) > 0.85
    palette = Image.open(tmp_path / "out" / "labels" / "a.png").getpalette()
    assert palette[: 3 * 19] == [value for colour in CELEB.palette for value in colour]
    overlay = Image.open(tmp_path / "out" / "overlays" / "a.jpg")
    assert overlay.width > 96
    assert overlay.height >= 96


def test_masks_json_and_probabilities(run, pictures, tmp_path):
    code, printed = run("--input", pictures / "a.png", "--classes", "hair, l_eye", "--json", "--probs")
    assert code == 0, printed
    out = tmp_path / "out"
    label = label_map(out / "labels" / "a.png")
    for name in ("hair", "l_eye"):
        mask = np.asarray(Image.open(out / "masks" / name / "a.png"))
        np.testing.assert_array_equal(mask, 255 * (label == CELEB.names.index(name)))
    content = json.loads((out / "json" / "a.json").read_text())
    assert (content["width"], content["height"], content["faces"]) == (96, 96, None)
    assert content["classes"]["hair"]["pixels"] == (label == CELEB.names.index("hair")).sum()
    with np.load(out / "probs" / "a.npz") as probs:
        assert probs["names"].tolist() == list(CELEB.names)
        assert (probs["probabilities"].argmax(0) == label).mean() > 0.99


def test_label_order(run, pictures, tmp_path):
    run("--input", pictures / "a.png")
    run("--input", pictures / "a.png", "--label_order", "bisenet", output=tmp_path / "other")
    ours, theirs = (label_map(tmp_path / folder / "labels" / "a.png") for folder in ("out", "other"))
    assert ((theirs == 17) == (ours == CELEB.names.index("hair"))).all()
    assert not (theirs == ours).all()


def test_bad_files_are_listed_and_the_rest_is_done(run, pictures, tmp_path):
    (pictures / "cut.png").write_bytes((pictures / "a.png").read_bytes()[:100])
    (pictures / "text.jpg").write_text("no picture")
    code, printed = run("--input", pictures, tmp_path / "missing.jpg")
    assert code == 1
    assert "4 pictures parsed" in printed
    assert "3 could not be parsed" in printed
    for name in ("cut.png", "text.jpg", "missing.jpg"):
        assert name in printed
    assert len(files(tmp_path / "out" / "labels")) == 4


def test_nothing_is_overwritten_unless_asked_for(run, pictures, tmp_path):
    run("--input", pictures)
    path = tmp_path / "out" / "labels" / "a.png"
    path.write_bytes(b"mine")
    code, printed = run("--input", pictures)
    assert code == 1
    assert "would be overwritten" in printed
    assert path.read_bytes() == b"mine"
    assert run("--input", pictures, "--overwrite")[0] == 0
    assert label_map(path).shape == (96, 96)


def test_skip_existing_makes_what_is_missing(run, pictures, tmp_path):
    run("--input", pictures)
    (tmp_path / "out" / "labels" / "a.png").write_bytes(b"mine")
    (tmp_path / "out" / "overlays" / "sub" / "é.jpg").unlink()
    model = ColourModel(resolution=64)
    code, printed = run("--input", pictures, "--skip_existing", model=model)
    assert (code, model.batches) == (0, [1])
    assert "3 had all their results already" in printed
    assert (tmp_path / "out" / "overlays" / "sub" / "é.jpg").exists()
    assert (tmp_path / "out" / "labels" / "a.png").read_bytes() == b"mine"
    code, printed = run("--input", pictures, "--skip_existing", "--json", model=model)
    assert (code, model.batches) == (0, [1, 4])
    assert (tmp_path / "out" / "labels" / "a.png").read_bytes() == b"mine"
    assert len(files(tmp_path / "out" / "json")) == 4


def test_results_inside_the_folder_of_pictures_are_no_input(run, pictures):
    assert run("--input", pictures, output=pictures / "parsed")[0] == 0
    code, printed = run("--input", pictures, "--skip_existing", output=pictures / "parsed")
    assert code == 0
    assert "4 had all" in printed


def test_a_full_disk_ends_it_and_keeps_what_is_written(run, pictures, tmp_path, monkeypatch):
    write = outputs_module.write_overlay
    count = iter(range(100))

    def full(file, parsing, source):
        if next(count) >= 2:
            raise OSError(28, "No space left on device", "overlay")
        write(file, parsing, source)

    monkeypatch.setattr(outputs_module, "write_overlay", full)
    code, printed = run("--input", pictures, "--threads", 1)
    assert code == 1
    assert "Make room there" in printed
    assert len(files(tmp_path / "out" / "overlays")) == 2
    assert not [name for name in files(tmp_path / "out") if "tmp" in name]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--classes", "hair,beard"], "beard"),
        (["--classes", "{a}"], "{a}"),
        (["--landmarks", "none.json"], "none.json"),
        (["--detector", "yunet.onnx"], "--detect"),
        (["--smooth", "0.5"], "--input names none"),
        (["--overwrite", "--skip_existing"], "not allowed"),
        (["--detect", "--detector", "none.onnx"], "no detector at none.onnx"),
    ],
)
def test_flags_that_cannot_be(run, pictures, flags, message):
    code, printed = run("--input", pictures, *flags)
    assert code
    assert message in printed
    assert "Traceback" not in printed


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


def write_video(path, frames, rate):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()


def test_video_keeps_rate_size_and_number_of_frames(run, tmp_path):
    face = painted(np.repeat(np.repeat(face_map(64), 2, 0), 3, 1))
    write_video(tmp_path / "clip.mp4", [np.roll(face, 2 * k, 1) for k in range(11)], 15)
    code, printed = run("--input", tmp_path / "clip.mp4", "--smooth", "0.3", "--frames", "--json", "--batch_size", 4)
    assert code == 0, printed
    video = cv2.VideoCapture(str(tmp_path / "out" / "videos" / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 15
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (192, 128)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 11
    assert files(tmp_path / "out" / "videos") == ["clip.mp4", "clip_legend.png"]
    assert files(tmp_path / "out" / "json" / "clip") == [f"{k:06d}.json" for k in range(11)]
    _, frame = video.read()
    skin = CELEB.palette[CELEB.names.index("skin")]
    mixed = 0.55 * np.array(skin) + 0.45 * face[64, 70]
    assert np.abs(frame[64, 70, ::-1] - mixed).max() < 25
    code, printed = run("--input", tmp_path / "clip.mp4")
    assert code == 1
    assert "would be overwritten" in printed


def test_frames_of_an_interrupted_run_are_made_anew(run, tmp_path):
    """They stayed as they were, and a finished video without them counted as done."""
    write_video(tmp_path / "clip.mp4", [painted(face_map(64)) for _ in range(3)], 10)
    old = tmp_path / "out" / "labels" / "clip" / "000001.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    code, printed = run("--input", tmp_path / "clip.mp4", "--frames")
    assert code == 1
    assert "would be overwritten" in printed
    assert run("--input", tmp_path / "clip.mp4", "--frames", "--skip_existing")[0] == 0
    assert label_map(old).shape == (64, 64)
    code, printed = run("--input", tmp_path / "clip.mp4", "--frames", "--json", "--skip_existing")
    assert code == 0
    assert len(files(tmp_path / "out" / "json" / "clip")) == 3
    assert "1 had all" in run("--input", tmp_path / "clip.mp4", "--frames", "--json", "--skip_existing")[1]


def test_names_of_any_length_and_encoding(run, pictures, tmp_path):
    long = pictures / ("n" * 245 + ".png")
    (pictures / "a.png").rename(long)
    odd = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(painted(face_map(64))).save(pictures / "x.png")
    (pictures / "x.png").rename(pictures / odd)
    code, printed = run("--input", long, pictures / odd, "--json")
    assert code == 0, printed
    assert (tmp_path / "out" / "json" / f"{odd[:-4]}.json").is_file()


def test_overlays_of_pictures_that_are_too_wide_for_jpeg(run, tmp_path):
    Image.new("RGB", (66000, 8)).save(tmp_path / "wide.png")
    code, printed = run("--input", tmp_path / "wide.png")
    assert code == 0, printed
    assert label_map(tmp_path / "out" / "labels" / "wide.png").shape == (8, 66000)
    assert Image.open(tmp_path / "out" / "overlays" / "wide.jpg").width == 65500


def test_video_that_cannot_be_read(run, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    code, printed = run("--input", tmp_path / "a.mp4", "--weights", "any")
    assert code == 1
    assert "a.mp4: found no video" in printed
    assert not (tmp_path / "out" / "videos").exists()


def test_masks_of_a_video_need_frames(run, tmp_path):
    write_video(tmp_path / "a.mp4", [painted(face_map(64))], 10)
    code, printed = run("--input", tmp_path / "a.mp4", "--json")
    assert code == 1
    assert "pass --frames" in printed


class Camera:
    """Stands in for cv2.VideoCapture: three frames, then Ctrl-C."""

    def __init__(self, index):
        assert index == 3
        self.count = 0

    def isOpened(self):  # noqa: N802, OpenCV's name
        return True

    def get(self, _):
        return 0.0

    def read(self):
        self.count += 1
        if self.count > 3:
            raise KeyboardInterrupt
        return True, painted(face_map(64))

    def release(self):
        pass


def test_what_a_camera_saw_until_ctrl_c_is_kept(run, tmp_path, monkeypatch):
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(source) if source == 3 else capture(source))
    code, printed = run("--input", "3")
    assert code == 0, printed
    video = capture(str(tmp_path / "out" / "videos" / "camera3.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == 30


def test_without_pytorch_the_error_says_what_needs_none(monkeypatch):
    monkeypatch.delitem(sys.modules, "utils.inference.torch_model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingsError, match=r"needs torch.*ONNX"):
        open_model("mobilenet_celeba_512")


@pytest.mark.slow
def test_command_with_a_checkpoint(pictures, tmp_path):
    """A process of its own, PyTorch, and a huge picture."""
    torch.manual_seed(0)
    save_weights(create_segface("mobilenet", "segface_helen", 64, "none"), tmp_path / "w.pt")
    huge = Image.new("L", (12000, 9000), 90)
    huge.save(tmp_path / "huge.png", compress_level=1)
    arguments = [
        "--weights",
        tmp_path / "w.pt",
        "--input",
        pictures,
        tmp_path / "huge.png",
        "--output",
        tmp_path / "out",
    ]
    result = subprocess.run(
        [sys.executable, predict.__file__, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "mobilenet for Helen at 64" in result.stderr
    assert "Warning" not in result.stderr
    Image.MAX_IMAGE_PIXELS, limit = None, Image.MAX_IMAGE_PIXELS
    try:
        assert Image.open(tmp_path / "out" / "labels" / "huge.png").size == (12000, 9000)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    assert label_map(tmp_path / "out" / "labels" / "b c.png").shape == (70, 120)
