"""predict.py as its users call it, on painted pictures and a model of their colours."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from colours import ColourModel, face_map, iou, painted
from PIL import Image
from predicted import files, label_map

import predict
from datasets import LABELS
from network import create_segface, save_weights
from utils.errors import SettingsError
from utils.inference import outputs as outputs_module
from utils.inference.models import open_model

CELEB = LABELS["celebamask_hq"]


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
