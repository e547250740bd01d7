"""Drawn faces on disk: the real readers read what was painted, class by class."""

import numpy as np
import pytest
from people import CODES, SIZE, drawing, files_of, generator
from PIL import Image

from datasets import LABELS, create_dataset
from datasets.drawing import draw_face
from datasets.drawing.canvas import Canvas
from datasets.drawing.landmarks import landmarks_68
from datasets.synthetic import write_dataset

# What a part is where there are eleven classes: the names in LaPa and in Helen.
ELEVEN_NAMES = {
    "skin": ("face_lr_rr", "face"), "l_ear": ("face_lr_rr", "face"), "r_ear": ("face_lr_rr", "face"),
    "r_brow": ("lb", "lb"), "l_brow": ("rb", "rb"), "r_eye": ("le", "le"), "l_eye": ("re", "re"),
    "nose": ("nose", "nose"), "u_lip": ("ul", "ulip"), "mouth": ("im", "imouth"), "l_lip": ("ll", "llip"),
    "hair": ("hair", "hair"), "neck": ("background", "bg"), "cloth": ("background", "bg"), "hat": ("background", "bg"),
}  # fmt: skip


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
