"""Drawn faces: the readers read what was painted, landmarks lie in their features, and chance is under control."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import LABELS, DataError, create_dataset, synthetic
from datasets.drawing import draw_face
from datasets.drawing.canvas import PARTS, Canvas
from datasets.drawing.landmarks import landmarks_68, landmarks_106
from datasets.drawing.person import sample_person
from datasets.synthetic import Drawing, write_dataset

ROOT = Path(__file__).parents[2]
SIZE = 96
CODES = {"train": 0, "val": 1, "test": 2}
# What a part is where there are eleven classes: the names in LaPa and in Helen.
ELEVEN_NAMES = {
    "skin": ("face_lr_rr", "face"), "l_ear": ("face_lr_rr", "face"), "r_ear": ("face_lr_rr", "face"),
    "r_brow": ("lb", "lb"), "l_brow": ("rb", "rb"), "r_eye": ("le", "le"), "l_eye": ("re", "re"),
    "nose": ("nose", "nose"), "u_lip": ("ul", "ulip"), "mouth": ("im", "imouth"), "l_lip": ("ll", "llip"),
    "hair": ("hair", "hair"), "neck": ("background", "bg"), "cloth": ("background", "bg"), "hat": ("background", "bg"),
}  # fmt: skip


def drawing(layout="celebamask_hq", **changes):
    return replace(Drawing(layout, train=6, val=3, test=4, size=SIZE, seed=0), **changes)


def generator(split, number, seed=0):
    return np.random.default_rng((seed, CODES[split], number))


def faces(count, size=SIZE):
    return (draw_face(generator("train", number), size) for number in range(count))


def shows(face, part):
    """Where a part is the one that is seen, bool (S, S)."""
    index = PARTS.index(part)
    return (face.parts >> index) == 1


def files_of(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def painter(monkeypatch):
    """Draws a face and returns what a painter leaves: at each pixel the part that was painted there last."""

    def paint(split, number, size, transparent=()):
        seen = np.full((size, size), "background", dtype="<U10")
        marked = Canvas.mark

        def mark(canvas, shape, part):
            marked(canvas, shape, part)
            if part not in transparent:
                seen[shape.slices][shape.coverage > 0.5] = part

        with monkeypatch.context() as patch:
            patch.setattr(Canvas, "mark", mark)
            draw_face(generator(split, number), size)
        return seen

    return paint


def values(seen, dataset):
    """A map of parts as a label map of a dataset."""
    names = LABELS[dataset].names
    if dataset == "celebamask_hq":
        return np.vectorize(names.index)(seen)
    column = 0 if dataset == "lapa" else 1
    return np.vectorize(lambda part: names.index(ELEVEN_NAMES[part][column]) if part in ELEVEN_NAMES else 0)(seen)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """One drawn dataset in each layout."""
    root = tmp_path_factory.mktemp("drawn")
    for layout in LABELS:
        write_dataset(drawing(layout), root / layout)
    return root


@pytest.mark.parametrize("split", CODES)
def test_celebamask_hq_reader_reads_what_was_painted(drawn, painter, split):
    dataset = create_dataset("celebamask_hq", drawn / "celebamask_hq", split, SIZE // 2)
    assert len(dataset) == getattr(drawing(), split)
    for number, sample in enumerate(dataset):
        expected = values(painter(split, number, SIZE), "celebamask_hq")[1::2, 1::2]
        assert np.array_equal(sample["label"].numpy(), expected)


@pytest.mark.parametrize("split", CODES)
def test_lapa_reader_reads_what_was_painted(drawn, painter, split):
    dataset = create_dataset("lapa", drawn / "lapa", split, SIZE, augment=False)
    assert len(dataset) == getattr(drawing(), split)
    for number, sample in enumerate(dataset):
        expected = values(painter(split, number, SIZE, transparent=("eye_g", "ear_r", "neck_l")), "lapa")
        assert np.array_equal(sample["label"].numpy(), expected)


@pytest.mark.parametrize("split", ["train", "test"])
def test_helen_reader_reads_what_was_painted(drawn, painter, split):
    dataset = create_dataset("helen", drawn / "helen", split, SIZE)
    assert len(dataset) == getattr(drawing(), split)
    for number, sample in enumerate(dataset):
        whole = values(painter(split, number, SIZE, transparent=("eye_g", "ear_r", "neck_l")), "helen")
        points = landmarks_68(draw_face(generator(split, number), SIZE))
        low, extent = points.min(0), np.ptp(points, axis=0) + 1
        side = int(extent.max() * 1.2)
        left, top = (low + extent / 2).astype(int) - side // 2
        box = [max(left, 0), max(top, 0), min(left + side, SIZE), min(top + side, SIZE)]
        cropped = Image.fromarray(whole.astype(np.uint8)).crop(box)
        assert np.array_equal(sample["label"].numpy(), cropped.resize((SIZE, SIZE), Image.Resampling.NEAREST))


def test_masks_lie_on_disk_as_those_of_celebamask_hq(drawn):
    folder = drawn / "celebamask_hq" / "CelebAMask-HQ-mask-anno" / "0"
    masks = {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}
    for mask in masks.values():
        assert mask.shape == (SIZE // 2, SIZE // 2, 3)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask == mask[..., :1]).all()
    skin, nose = masks["00000_skin"] > 0, masks["00000_nose"] > 0
    assert (skin & nose).sum() > 0.9 * nose.sum()  # masks overlap; it is the order of painting that decides


def test_helen_validates_on_its_test_split(drawn):
    assert [s.name for s in create_dataset("helen", drawn / "helen", "val", 32).samples] == [
        s.name for s in create_dataset("helen", drawn / "helen", "test", 32).samples
    ]


def test_pictures_survive_the_jpeg(drawn):
    dataset = create_dataset("celebamask_hq", drawn / "celebamask_hq", "train", SIZE)
    for number, sample in enumerate(dataset):
        face = draw_face(generator("train", number), SIZE)
        difference = sample["image"].permute(1, 2, 0).numpy().astype(float) - face.image
        assert np.abs(difference).mean() < 8


def test_all_classes_are_drawn_and_masks_overlap_as_in_the_dataset(drawn):
    seen = set()
    for face in faces(150):
        skin, nose = face.parts >> PARTS.index("skin") & 1, shows(face, "nose")
        assert skin[nose].mean() > 0.9  # the skin's mask runs on under the nose
        seen |= {part for part in PARTS[1:] if shows(face, part).any()}
    assert seen == set(PARTS[1:])


def test_left_and_right_are_the_persons_own():
    compared = dict.fromkeys(("eye", "brow", "ear"), 0)
    for face in faces(40):
        for part in compared:
            left, right = (np.argwhere(face.parts >> PARTS.index(f"{side}_{part}") & 1) for side in "lr")
            if len(left) and len(right):
                assert left[:, 1].mean() > right[:, 1].mean()  # the person's left is on the image's right
                compared[part] += 1
    assert all(count >= 5 for count in compared.values())


LANDMARK_PARTS = {
    106: {
        "r_brow": range(33, 42), "l_brow": range(42, 51), "nose": range(51, 66), "r_eye": [*range(66, 75), 104],
        "l_eye": [*range(75, 84), 105],
    },
    68: {"r_brow": range(17, 22), "l_brow": range(22, 27), "nose": range(27, 36), "r_eye": range(36, 42),
         "l_eye": range(42, 48)},
}  # fmt: skip
LIPS = {106: range(84, 104), 68: range(48, 68)}


@pytest.mark.parametrize("points_of", [landmarks_106, landmarks_68], ids=["106", "68"])
def test_landmarks_lie_in_their_features(points_of):
    size = 256
    for face in faces(25, size):
        points = points_of(face)
        count = len(points)
        assert points.shape == (int(points_of.__name__[10:]), 2)
        masks = {part: face.parts >> PARTS.index(part) & 1 for part in LANDMARK_PARTS[count]}
        masks["mouth"] = sum(face.parts >> PARTS.index(part) & 1 for part in ("u_lip", "mouth", "l_lip"))
        for part, indices in {**LANDMARK_PARTS[count], "mouth": LIPS[count]}.items():
            near = cv2.dilate((masks[part] > 0).astype(np.uint8), np.ones((7, 7)))  # the points outline the part
            columns, rows = points[list(indices)].astype(int).T
            assert near[rows, columns].all(), part
        contour = points[: 33 if count == 106 else 17]
        bottom = contour[len(contour) // 2]
        assert (np.diff(contour[: len(contour) // 2, 1]) > 0).mean() > 0.9
        assert bottom[1] > points[list(LIPS[count]), 1].max()
        assert contour[0, 0] < points[:, 0].mean() < contour[-1, 0]


# In each row points that run from left to right, or from top to bottom.
LEFT_TO_RIGHT = {
    106: [(0, 16, 32), (33, 35, 37), (42, 44, 46), (55, 63), (58, 60, 62), (66, 70, 75, 79), (84, 87, 90),
          (96, 98, 100), (104, 105), (95, 91)],
    68: [(0, 8, 16), (17, 19, 21, 22, 24, 26), (31, 33, 35), (36, 39, 42, 45), (48, 51, 54), (60, 62, 64), (59, 55)],
}  # fmt: skip
DOWNWARDS = {
    106: [(35, 39), (44, 48), (51, 52, 53, 60), (68, 72), (77, 81), (86, 94), (87, 93), (87, 98), (55, 57), (0, 8, 16)],
    68: [(27, 28, 29, 33), (37, 41), (38, 40), (43, 47), (44, 46), (50, 58), (51, 57), (51, 62), (0, 4, 8),
         (16, 12, 8)],
}  # fmt: skip


@pytest.mark.parametrize("points_of", [landmarks_106, landmarks_68], ids=["106", "68"])
def test_landmarks_are_in_their_published_order(points_of):
    for face in faces(25, 256):
        points = points_of(face)
        angle = np.arctan2(*(face.features.eyes[1].outline.mean(0) - face.features.eyes[0].outline.mean(0))[::-1])
        upright = points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for row in LEFT_TO_RIGHT[len(points)]:
            assert (np.diff(upright[list(row), 0]) > 0).all(), row
        for row in DOWNWARDS[len(points)]:
            assert (np.diff(upright[list(row), 1]) > 0).all(), row


@pytest.mark.parametrize(("dataset", "eyes"), [("lapa", ("le", "re")), ("helen", ("le", "re"))])
def test_five_landmarks_as_read_lie_in_eyes_nose_and_mouth(drawn, dataset, eyes):
    names = LABELS[dataset].names
    mouth = [names.index(name) for name in names if name in ("ul", "im", "ll", "ulip", "imouth", "llip")]
    for sample in create_dataset(dataset, drawn / dataset, "test", 128, augment=False):
        label = sample["label"].numpy()
        allowed = [[names.index(eyes[0])], [names.index(eyes[1])], [names.index("nose")], mouth, mouth]
        for (x, y), classes in zip(sample["landmarks"].numpy(), allowed, strict=True):
            around = label[max(int(y) - 3, 0) : int(y) + 4, max(int(x) - 3, 0) : int(x) + 4]
            assert np.isin(around, classes).any()
        corners = sample["landmarks"].numpy()[3:, 0]
        columns = np.nonzero(np.isin(label, mouth))[1]
        assert np.abs(corners - (columns.min(), columns.max())).max() < 4


RATES = {"eye_g": 0.05, "hat": 0.04, "ear_r": 0.20, "neck_l": 0.06}


def test_rare_classes_come_at_the_rates_of_the_real_data():
    count = 4000
    people = [sample_person(generator("train", number)).wears for number in range(count)]
    for part, rate in RATES.items():
        share = sum(part in worn for worn in people) / count
        assert abs(share - rate) < 3.5 * np.sqrt(rate * (1 - rate) / count), part


@pytest.mark.slow
def test_what_is_worn_is_seen_and_nothing_else():
    worn, seen = dict.fromkeys(RATES, 0), dict.fromkeys(RATES, 0)
    for number in range(700):
        person = sample_person(generator("train", number))
        if person.wears or number % 20 == 0:
            face = draw_face(generator("train", number), 128)
            visible = {part for part in RATES if shows(face, part).any()}
            assert visible <= person.wears
            for part in person.wears:
                worn[part] += 1
                seen[part] += part in visible
    for part in RATES:
        assert seen[part] >= 0.9 * worn[part] > 0, (part, seen, worn)


@pytest.mark.slow
def test_rare_classes_are_small():
    areas = {part: [] for part in ("ear_r", "neck_l", "eye_g")}
    for number in range(300):
        if sample_person(generator("train", number)).wears & set(areas):
            face = draw_face(generator("train", number), SIZE)
            for part, found in areas.items():
                if shows(face, part).any():
                    found.append(shows(face, part).mean())
    assert np.mean(areas["ear_r"]) < 0.01
    assert np.mean(areas["neck_l"]) < 0.03
    assert np.mean(areas["eye_g"]) < 0.08


@pytest.mark.slow
def test_colour_alone_does_not_tell_the_classes():
    counts = np.zeros((16**3, len(PARTS)))
    hits, truth, guesses = (np.zeros(len(PARTS)) for _ in range(3))
    for number, face in enumerate(faces(240)):
        colour = (face.image.astype(int) // 16 @ (256, 16, 1)).flatten()
        label = synthetic.paint_label(face.parts, {part: k for k, part in enumerate(PARTS)}).flatten()
        if number < 200:
            np.add.at(counts, (colour, label), 1)
            continue
        guess = counts[colour].argmax(1)
        hits += np.bincount(label[guess == label], minlength=len(PARTS))
        truth += np.bincount(label, minlength=len(PARTS))
        guesses += np.bincount(guess, minlength=len(PARTS))
    f1 = 2 * hits[1:] / np.maximum(truth + guesses, 1)[1:]
    assert f1.mean() < 0.25


def test_the_same_seed_draws_the_same_files(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        write_dataset(drawing(), tmp_path / name, workers)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    write_dataset(drawing(seed=1), tmp_path / "other")
    others = files_of(tmp_path / "other")
    images = [name for name in others if name.suffix == ".jpg"]
    assert all(others[name] != content for name, content in files_of(tmp_path / "one").items() if name in images)


@pytest.mark.parametrize("layout", LABELS)
def test_a_picture_does_not_depend_on_the_counts(tmp_path, drawn, layout):
    write_dataset(drawing(layout, train=2, val=2, test=2), tmp_path / layout)
    more = files_of(drawn / layout)
    pictures = {
        name: content for name, content in files_of(tmp_path / layout).items() if name.suffix in (".jpg", ".png")
    }
    assert pictures.items() <= more.items()


def test_a_picture_does_not_depend_on_the_size():
    for number in range(8):
        small, large = (draw_face(generator("train", number), size) for size in (128, 256))
        assert (small.parts == large.parts[1::2, 1::2]).mean() > 0.95
        shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(small.image.astype(float) - shrunk).mean() < 12


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
    (synthetic, "save_label", 7),
    (synthetic, "save_image", 2),
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
    written = []
    write = synthetic.save_image
    monkeypatch.setattr(synthetic, "save_image", lambda *args: (written.append(args), write(*args)))
    write_dataset(drawing(layout), out)
    assert files_of(out) == files_of(drawn / layout)
    assert (
        len(written) == {"draw_pictures": 13, "finish": 0, "rmdir": 0}.get(stop[1], len(written)) or layout == "helen"
    )
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_file_beside_an_unfinished_drawing_is_not_overwritten(tmp_path, monkeypatch):
    assert draw_until(monkeypatch, drawing("helen"), tmp_path, synthetic, "save_image", 3)
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
        patch.setattr(synthetic, "save_label", lambda *_: (_ for _ in ()).throw(full))
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
