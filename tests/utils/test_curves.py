"""The picture of a run's curves, read from the lines of its panels."""

import subprocess
import sys

import pytest
from PIL import Image

from datasets import LABELS
from utils import curves as module
from utils.curves import MOST_FALLS, curves
from utils.visualize import to_array

CELEB = LABELS["celebamask_hq"]
LOSSES = {"loss": 0.5, "ce": 0.5, "dice": 0.4}
PANELS = (
    "training loss", "validation mean F1, percent", "validation F1 of each class, percent", "learning rate",
    "samples per second", "peak memory, GB",
)  # fmt: skip


def entry(epoch, lr=1e-3, val=None, **more):
    return {"epoch": epoch, "lr": lr, **LOSSES, "loss": 1 / (1 + epoch), "val": val, **more}


def scores(mean_f1, long_tail_f1=None, **f1):
    return {"mean_f1": mean_f1, "long_tail_f1": long_tail_f1, "f1": f1}


@pytest.fixture
def panels(monkeypatch, tmp_path):
    """Draw curves; the panels by their titles, and under "waiting" the axis on the right of the speed."""

    def draw(entries, labels=CELEB, title=""):
        figures = []
        monkeypatch.setattr(module, "save", lambda figure, _: figures.append(figure))
        curves(entries, labels, tmp_path / "curves.png", title)
        return {axis.get_title() or "waiting": axis for axis in figures[0].axes}

    return draw


def lines(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry(0)],
        [entry(0, val=scores(0.3, hat=None)), entry(1), entry(2, 1e-4, scores(0.5, 0.1, hat=0.2), val_ema=None)],
        [entry(0, val=scores(None))],
        [{"epoch": 0, "lr": 0.0, **LOSSES, "val": None}],
        [{"epoch": 0, "lr": 1e-4, **LOSSES, "val": {"mean_f1": 0.3, "long_tail_f1": 0.2}}],
    ],
    ids=["nothing", "not validated", "three epochs", "absent classes", "no learning rate", "an old line"],
)
@pytest.mark.filterwarnings("error")
def test_curves_of_any_run_can_be_drawn(tmp_path, entries):
    curves(entries, CELEB, tmp_path / "curves.png", "a run")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1500, 750)


def test_each_panel_shows_what_its_title_says(panels):
    first = entry(
        0, val=scores(0.3, hair=0.8, hat=None), val_ema=scores(0.2),
        samples_per_second=10.0, data_wait=0.25, peak_memory_gb=3.5,
    )  # fmt: skip
    last = entry(
        2, 1e-4, scores(0.5, 0.1, hair=0.9, hat=0.05), val_ema=scores(0.6),
        samples_per_second=12.0, data_wait=0.5, peak_memory_gb=4.0,
    )  # fmt: skip
    drawn = panels([first, entry(1), last], title="a run")
    assert tuple(drawn)[:6] == PANELS
    expected = {
        "training loss": {
            "loss": [[1, 1], [2, 1 / 2], [3, 1 / 3]],
            "cross-entropy": [[1, 0.5], [2, 0.5], [3, 0.5]],
            "Dice": [[1, 0.4], [2, 0.4], [3, 0.4]],
        },
        "validation mean F1, percent": {
            "mean F1": [[1, 30], [3, 50]],
            "long-tail mean F1": [[3, 10]],
            "mean F1 of the EMA": [[1, 20], [3, 60]],
        },
        "validation F1 of each class, percent": {"hair": [[1, 80], [3, 90]], "hat": [[3, 5]]},
        "learning rate": {"learning rate": [[1, 1e-3], [2, 1e-3], [3, 1e-4]]},
        "samples per second": {"samples per second": [[1, 10], [3, 12]]},
        "waiting": {"waiting for data": [[1, 25], [3, 50]]},
        "peak memory, GB": {"peak memory": [[1, 3.5], [3, 4]]},
    }
    for title, named in expected.items():
        found = {name: points for name, points in lines(drawn[title]).items() if not name.startswith("_")}
        assert found == {name: [pytest.approx(point) for point in points] for name, points in named.items()}, title
    assert drawn["learning rate"].get_yscale() == "log"
    assert drawn["training loss"].figure.get_suptitle() == "a run"
    styles = {line.get_label(): line.get_linestyle() for line in drawn["validation mean F1, percent"].lines}
    assert (styles["mean F1"], styles["mean F1 of the EMA"]) == ("-", "--")


@pytest.mark.parametrize("dataset", LABELS)
def test_each_class_has_its_colour_and_its_name_beside_the_panel(dataset, panels):
    labels = LABELS[dataset]
    drawn = panels([entry(0, val=scores(0.5, **dict.fromkeys(labels.names, 0.5)))], labels)
    panel = drawn["validation F1 of each class, percent"]
    classes = [line for line in panel.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in classes] == list(labels.names)
    assert [tuple(round(255 * value) for value in line.get_color()) for line in classes] == list(labels.palette)
    assert [text.get_text() for text in panel.get_legend().get_texts()] == list(labels.names)
    panel.figure.draw_without_rendering()
    legend, frame = panel.get_legend().get_window_extent(), panel.get_window_extent()
    assert legend.x0 >= frame.x1
    assert legend.x1 <= 1500
    assert 0 <= legend.y0 < legend.y1 <= 750


@pytest.mark.parametrize("name", ["background", "skin", "r_eye", "eye_g", "hat", "ear_r"])
def test_a_class_of_any_colour_can_be_seen_on_its_panel(name, panels):
    panel = panels([entry(epoch, val=scores(0.9, **{name: 0.5})) for epoch in range(30)])[PANELS[2]]
    panel.grid(False)
    picture = to_array(panel.figure).astype(float).mean(-1)
    column, row = panel.transData.transform((15, 50)).round().astype(int)
    across = picture[750 - row - 6 : 750 - row + 6, column]
    assert across[0] > 235  # the panel
    assert across.min() < 120


@pytest.mark.parametrize(("falls", "marked"), [(0, 0), (1, 1), (MOST_FALLS, MOST_FALLS), (MOST_FALLS + 1, 0)])
def test_dotted_lines_mark_where_the_learning_rate_fell_unless_it_falls_all_the_time(falls, marked, panels):
    drawn = panels([entry(epoch, 1e-3 * 0.5 ** min(epoch, falls)) for epoch in range(falls + 3)])
    for title in PANELS:
        dotted = [line.get_xydata().tolist() for line in drawn[title].lines if line.get_linestyle() == ":"]
        assert dotted == [[[1 + k, 0], [1 + k, 1]] for k in range(marked)]


def test_old_lines_show_what_they_have_and_no_axis_for_what_they_lack(panels):
    old = {"epoch": 0, "lr": 1e-3, **LOSSES, "samples_per_second": 9.0, "val": {"mean_f1": 0.3, "long_tail_f1": None}}
    new = entry(1, val=scores(0.5), samples_per_second=10.0, data_wait=0.1, peak_memory_gb=2.0)
    assert "waiting" not in panels([old])
    drawn = panels([old, new])
    assert lines(drawn["samples per second"])["samples per second"] == [[1, 9], [2, 10]]
    assert lines(drawn["waiting"])["waiting for data"] == [[2, 10]]
    assert lines(drawn["peak memory, GB"])["peak memory"] == [[2, 2]]
    assert set(lines(drawn["validation mean F1, percent"])) == {"mean F1"}


def test_a_level_line_keeps_off_the_frame(panels):
    drawn = panels([entry(epoch, samples_per_second=50.0, peak_memory_gb=11.0) for epoch in range(3)])
    for title, value in (("samples per second", 50), ("peak memory, GB", 11)):
        bottom, top = drawn[title].get_ylim()
        assert bottom == 0
        assert value < 0.95 * top


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    file = tmp_path / "curves.png"
    curves([entry(0)], CELEB, file)
    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        curves([entry(0), entry(1)], CELEB, file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_importing_costs_no_matplotlib():
    code = "import sys, utils.curves; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
