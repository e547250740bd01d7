"""Drawn faces: the readers read what was painted, landmarks lie in their features, and chance is under control."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import LABELS, DataError, create_dataset, synthetic
from datasets.drawing import draw_face
from datasets.drawing.canvas import PARTS, Canvas
from datasets.drawing.landmarks import landmarks_68, landmarks_106
from datasets.drawing.person import RATES, sample_person
from datasets.synthetic import Drawing, write_dataset

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
    for face in faces(40):
        for part in ("eye", "brow"):
            left, right = (np.argwhere(face.parts >> PARTS.index(f"{side}_{part}") & 1) for side in "lr")
            assert left[:, 1].mean() > right[:, 1].mean()  # the person's left is on the image's right


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


def test_rare_classes_come_at_their_rates():
    count = 4000
    people = [sample_person(generator("train", number)).wears for number in range(count)]
    for part, rate in RATES.items():
        share = sum(part in worn for worn in people) / count
        assert abs(share - rate) < 3.5 * np.sqrt(rate * (1 - rate) / count), part


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
    with pytest.raises(DataError, match="was not drawn here"):
        write_dataset(drawing(), tmp_path / "mine")
    assert files_of(tmp_path) == {Path("mine/thesis.txt"): b"300 pages"}

    write_dataset(drawing(train=1, val=0, test=0), tmp_path / "faces")
    before = files_of(tmp_path / "faces")
    with pytest.raises(DataError, match=r"other settings.*\"seed\": 0"):
        write_dataset(drawing(seed=5), tmp_path / "faces")
    assert write_dataset(drawing(train=1, val=0, test=0), tmp_path / "faces") is False
    assert files_of(tmp_path / "faces") == before


@pytest.mark.parametrize("layout", LABELS)
def test_goes_on_after_it_was_stopped(tmp_path, drawn, layout, monkeypatch):
    write = synthetic.save_image
    written = []

    def stop_at_the_fifth(*args):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(args)
        write(*args)

    monkeypatch.setattr(synthetic, "save_image", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(drawing(layout), tmp_path / layout)
    with pytest.raises(DataError):  # nobody takes a part for the whole
        create_dataset(layout, tmp_path / layout, "train", 32)
    monkeypatch.setattr(synthetic, "save_image", lambda *args: (written.append(args), write(*args)))
    write_dataset(drawing(layout), tmp_path / layout)
    assert len(written) == len(list(drawing(layout).pictures()))  # none twice
    assert files_of(tmp_path / layout) == files_of(drawn / layout)


def run(*flags):
    command = [sys.executable, "-m", "datasets.synthetic", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


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
