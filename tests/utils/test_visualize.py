"""Colours, overlays and galleries."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from datasets import LABELS
from utils import visualize
from utils.visualize import GalleryRow, can_draw, colourise, gallery, overlay, try_to_write, with_legend

CELEB = LABELS["celebamask_hq"]
# Colour vision deficiencies at full strength, on linear RGB (Machado, Oliveira and Fernandes, IEEE TVCG 2009, table 1).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(rgb, vision):
    """CIE 1976 L*a*b* (D65) of sRGB colours (N, 3), 0 to 255, as seen with a kind of colour vision."""
    rgb = np.asarray(rgb) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = seen @ np.transpose(to_xyz) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("dataset", LABELS)
def test_any_two_classes_are_told_apart_with_any_colour_vision(dataset, vision):
    colours = cielab(LABELS[dataset].palette, vision)
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)[np.triu_indices(len(colours), 1)]
    assert distances.min() > 18  # 2.3 is just noticeable; eight times that


def test_a_part_has_the_same_colour_in_every_dataset():
    celeb = dict(zip(CELEB.names, CELEB.palette, strict=True))
    same = {"background": "background", "face_lr_rr": "skin", "lb": "r_brow", "rb": "l_brow", "le": "r_eye",
            "re": "l_eye", "nose": "nose", "ul": "u_lip", "im": "mouth", "ll": "l_lip", "hair": "hair"}  # fmt: skip
    assert [celeb[same[name]] for name in LABELS["lapa"].names] == list(LABELS["lapa"].palette)
    assert LABELS["helen"].palette == LABELS["lapa"].palette


@pytest.mark.parametrize("dataset", LABELS)
def test_colourise_paints_each_class_in_its_colour(dataset):
    labels = LABELS[dataset]
    values = np.array([[*range(labels.num_classes), 255]])
    assert [tuple(colour) for colour in colourise(values, labels)[0]] == [*labels.palette, (255, 255, 255)]
    assert colourise(values.astype(np.uint8), labels).dtype == np.uint8


@pytest.mark.parametrize("value", [11, 254, 256, -1])
def test_colourise_refuses_what_is_no_class(value):
    with pytest.raises(ValueError, match=str(value)):
        colourise(np.full((2, 2), value), LABELS["lapa"])


def test_overlay_leaves_background_and_blends_the_rest():
    image = np.full((20, 20, 3), 100, np.uint8)
    label = np.zeros((20, 20), np.uint8)
    label[5:15, 5:15] = 2
    label[0, 0] = 255
    result = overlay(image, label, CELEB, opacity=0.5)
    assert result.dtype == np.uint8
    assert (result[label == 0] == 100).all()
    assert (result[0, 0] == 100).all()
    assert np.abs(result[10, 10] - (100 + np.array(CELEB.palette[2])) / 2).max() <= 0.5
    assert tuple(result[5, 10]) == CELEB.palette[2]  # the edge
    assert (image == 100).all()
    with pytest.raises(ValueError, match="same height and width"):
        overlay(image, label[:10], CELEB)


@pytest.mark.parametrize("height", [40, 512])
def test_legend_shows_the_colour_of_every_class_beside_the_picture(height):
    picture = np.full((height, 60, 3), 7, np.uint8)
    result = with_legend(picture, CELEB)
    assert (result[:height, :60] == 7).all()
    strip = {tuple(colour) for colour in result[:, 60:].reshape(-1, 3)}
    assert set(CELEB.palette) <= strip
    few = {tuple(colour) for colour in with_legend(picture, CELEB, present={0, 14})[:, 60:].reshape(-1, 3)}
    assert {CELEB.palette[0], CELEB.palette[14]} <= few
    assert CELEB.palette[15] not in few


@pytest.mark.parametrize(("size", "widest"), [((40, 60), 150), ((2000, 2000), 420), ((20000, 100), 150)])
def test_legend_grows_with_the_picture_but_not_with_its_length(size, widest):
    """Beside a tall picture it took forty times its width."""
    picture = np.zeros((*size, 3), np.uint8)
    result = with_legend(picture, CELEB)
    assert 0.6 * widest < result.shape[1] - size[1] < widest
    assert result.shape[0] >= size[0]
    assert (result.shape[0] > size[0]) is (size[0] < 18 * CELEB.num_classes)


@pytest.mark.parametrize(("dataset", "count", "across"), [("celebamask_hq", 5, 2), ("lapa", 1, 2), ("helen", 2, 1)])
def test_gallery_shows_pictures_truth_prediction_and_legend(tmp_path, dataset, count, across):
    labels = LABELS[dataset]
    truth = np.arange(64 * 64).reshape(64, 64) // 64 % labels.num_classes
    rows = [
        GalleryRow(f"face {k}", np.full((64, 64, 3), 90, np.uint8), truth, np.full_like(truth, 3)) for k in range(count)
    ]
    file = tmp_path / "new" / "gallery.png"
    gallery(rows, labels, file, "a title", across)
    colours = {tuple(colour) for colour in np.asarray(Image.open(file).convert("RGB")).reshape(-1, 3)}
    assert set(labels.palette) | {(90, 90, 90)} <= colours
    assert [path.name for path in file.parent.iterdir()] == ["gallery.png"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved = []
    monkeypatch.setattr(visualize, "save", lambda figure, _: saved.append(figure))
    return saved


def test_gallery_puts_each_panel_in_its_place(figures, tmp_path):
    rows = [
        GalleryRow(f"face {k}", np.full((8, 8, 3), 50 + k, np.uint8), np.full((8, 8), k), np.full((8, 8), 5 + k))
        for k in range(3)
    ]
    gallery(rows, CELEB, tmp_path / "gallery.png", "a title")
    axes = figures[0].axes
    assert figures[0].get_suptitle() == "a title"
    assert [axis.get_title() for axis in axes[:6]] == 2 * ["picture", "truth", "prediction"]
    for k in range(3):
        picture, truth, prediction = (axis.images[0].get_array()[4, 4] for axis in axes[3 * k : 3 * k + 3])
        assert axes[3 * k].texts[0].get_text() == f"face {k}"
        assert tuple(picture) == (50 + k,) * 3
        assert tuple(truth) == CELEB.palette[k]
        assert tuple(prediction) == CELEB.palette[5 + k]
    legend = figures[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(CELEB.names)
    assert [patch.get_facecolor() for patch in legend.get_patches()] == [
        (*(value / 255 for value in colour), 1.0) for colour in CELEB.palette
    ]


def test_a_run_can_do_without_matplotlib(monkeypatch, caplog):
    logger = logging.getLogger("test")
    assert can_draw(logger)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # importing it is an ImportError
    with caplog.at_level(logging.INFO):
        assert not can_draw(logger)
    assert "pip install matplotlib" in caplog.text


def test_a_run_goes_on_where_no_picture_can_be_written(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    rows = [GalleryRow("face", np.zeros((8, 8, 3), np.uint8), *np.zeros((2, 8, 8), np.uint8))]
    with caplog.at_level(logging.INFO):
        assert not try_to_write(
            tmp_path / "file" / "gallery.png", lambda path: gallery(rows, CELEB, path), logging.getLogger()
        )
    assert "could not write" in caplog.text
    assert try_to_write(tmp_path / "gallery.png", lambda path: gallery(rows, CELEB, path), logging.getLogger())


def test_importing_costs_no_matplotlib():
    code = "import sys, utils.visualize; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
