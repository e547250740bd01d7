import shutil

import numpy as np
import pytest
import torch
from drawn import COUNTS, PART_NAMES, SIDE, draw_face
from PIL import Image
from spoilt import cut, resize, set_value
from torch.utils.data import DataLoader

from datasets import LABELS, DataError, create_dataset
from datasets.helen import face_box
from datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("name", LABELS)
def test_samples_have_the_promised_form(name, split, roots):
    dataset = create_dataset(name, roots[name], split, 96)
    assert len(dataset) == COUNTS[split]
    for sample in dataset:
        assert sample["image"].shape == (3, 96, 96)
        assert sample["label"].shape == (96, 96)
        assert sample["image"].dtype == sample["label"].dtype == torch.uint8
        assert sample["landmarks"].shape == (5, 2)
        assert sample["landmarks"].dtype == torch.float32
        assert sample["label"].max() < LABELS[name].num_classes
        assert isinstance(sample["name"], str)


def test_names_and_order(roots):
    def names(dataset, split):
        return [sample["name"] for sample in create_dataset(dataset, roots[dataset], split, 32)]

    assert names("celebamask_hq", "val") == ["3", "4"]
    assert names("lapa", "val") == ["val.0_0", "val.1_0"]
    assert names("helen", "val") == names("helen", "test") == ["test0_1", "test1_1"]


@pytest.mark.parametrize("name", ["celebamask_hq", "lapa"])
def test_picture_and_label_are_those_that_were_drawn(name, roots):
    sample = create_dataset(name, roots[name], "train", SIDE, augment=False)[1]
    image, label, _ = draw_face(name, SIDE, 1)
    assert np.abs(sample["image"].permute(1, 2, 0).numpy().astype(int) - np.array(image)).mean() < 8  # JPEG
    if name == "celebamask_hq":  # its masks have half the image's side
        label = label[::2, ::2].repeat(2, 0).repeat(2, 1)
    assert (sample["label"].numpy() == label).all()


def test_parts_are_painted_in_the_order_of_the_labels(roots, copy):
    root = copy("celebamask_hq")
    masks = root / "CelebAMask-HQ-mask-anno" / "0"
    for part in LABELS["celebamask_hq"].names[1:]:  # every part covers the same square
        Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(masks / f"00000_{part}.png")
    assert (create_dataset("celebamask_hq", root, "train", 32)[0]["label"] == 18).all()
    (masks / "00000_neck_l.png").unlink()
    assert (create_dataset("celebamask_hq", root, "train", 32)[0]["label"] == 17).all()


@pytest.mark.parametrize(("name", "left", "right"), [("celebamask_hq", "r_eye", "l_eye"), ("lapa", "le", "re")])
def test_left_and_right_are_as_the_dataset_means_them(name, left, right, roots):
    label = create_dataset(name, roots[name], "test", SIDE)[0]["label"]
    columns = {eye: (label == LABELS[name].names.index(eye)).nonzero()[:, 1].float().mean() for eye in (left, right)}
    assert columns[left] < columns[right]


def test_helen_is_cropped_to_a_square_around_its_points_cut_at_the_border():
    points = np.array([[10.0, 20.0], [49.5, 40.0]])
    # 40.5 x 21 points: centre (30, 30), side int(40.5 * 1.2) = 48, from 30 - 24 on.
    assert face_box(points, (100, 100)) == (6, 6, 54, 54)
    assert face_box(points - 9, (40, 100)) == (0, 0, 40, 45)


def test_pictures_are_resized_by_antialiased_bicubic_and_labels_by_nearest(roots):
    sample = create_dataset("lapa", roots["lapa"], "test", 32)[0]
    image = Image.open(roots["lapa"] / "test/images/0_0.jpg").resize((32, 32), Image.Resampling.BICUBIC)
    label = Image.open(roots["lapa"] / "test/labels/0_0.png").resize((32, 32), Image.Resampling.NEAREST)
    assert (sample["image"].permute(1, 2, 0).numpy() == np.array(image)).all()
    assert (sample["label"].numpy() == np.array(label)).all()


@pytest.mark.parametrize("name", ["lapa", "helen"])
def test_landmarks_lie_in_their_features(name, roots):
    labels = LABELS[name].names
    for sample in create_dataset(name, roots[name], "test", 128):
        at = [labels[sample["label"][int(y), int(x)]] for x, y in sample["landmarks"]]
        assert at == [*labels[4:7], labels[8], labels[8]]  # eyes, nose, twice the mouth


def test_labels_of_255_are_kept_for_ignoring(copy):
    root = copy("lapa")
    path = root / "test" / "labels" / "0_0.png"
    label = np.array(Image.open(path))
    label[:10] = 255
    Image.fromarray(label).save(path)
    assert (create_dataset("lapa", root, "test", SIDE)[0]["label"][:10] == 255).all()


def test_normalize_is_torchvisions():
    from torchvision.transforms import Normalize

    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    expected = Normalize(IMAGENET_MEAN, IMAGENET_STD)(images.float() / 255)
    torch.testing.assert_close(normalize(images), expected, rtol=0, atol=1e-6)


# Augmentation


def test_only_lapa_training_images_are_augmented(roots):
    for name in LABELS:
        plain = create_dataset(name, roots[name], "train", SIDE, augment=False)[0]
        augmented = create_dataset(name, roots[name], "train", SIDE)[0]
        assert torch.equal(plain["image"], augmented["image"]) == (name != "lapa")
    test = create_dataset("lapa", roots["lapa"], "test", SIDE)
    assert torch.equal(test[0]["image"], create_dataset("lapa", roots["lapa"], "test", SIDE, augment=False)[0]["image"])


def test_augmentation_moves_image_label_and_landmarks_together(roots):
    dataset = create_dataset("lapa", roots["lapa"], "train", 128, seed=3)
    plain = create_dataset("lapa", roots["lapa"], "train", 128, augment=False)[0]
    eye = LABELS["lapa"].names.index("le")
    centre = (plain["label"] == eye).nonzero().float().mean(0).flip(0)
    checked = 0
    for epoch in range(40):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        pixels = (sample["label"] == eye).nonzero().float()
        inside = (sample["landmarks"] > 8).all() and (sample["landmarks"] < 120).all()
        if not inside or len(pixels) < 20:
            continue
        # The eye's mean pixel moves as the similarity that the landmarks went through says.
        a, b = plain["landmarks"], sample["landmarks"]
        A = torch.cat([a, torch.ones(5, 1)], 1)
        moved = torch.cat([centre, torch.ones(1)]) @ torch.linalg.lstsq(A, b).solution
        assert (pixels.mean(0).flip(0) - moved).norm() < 2.5
        colours = sample["image"][:, sample["label"] == eye].float().mean(1)
        assert (colours - plain["image"][:, plain["label"] == eye].float().mean(1)).abs().max() < 20
        checked += 1
    assert checked > 5


def test_augmentation_is_drawn_from_the_given_ranges(roots):
    dataset = create_dataset("lapa", roots["lapa"], "train", SIDE)
    generator = np.random.default_rng(0)
    matrices = np.stack([dataset.augmentation.draw(generator, (SIDE, SIDE)) for _ in range(2000)])
    scales = np.linalg.det(matrices[:, :, :2]) ** 0.5
    degrees = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    shifts = matrices @ [SIDE / 2, SIDE / 2, 1] - SIDE / 2
    for values, low, high in ((scales, 0.5, 3), (degrees, -30, 30), (shifts, -20, 20)):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)


def test_augmentation_depends_on_seed_epoch_and_index_alone(roots):
    def epochs(num_workers, seed=5):
        dataset = create_dataset("lapa", roots["lapa"], "train", 32, seed=seed)
        loader = DataLoader(dataset, batch_size=1, num_workers=num_workers, persistent_workers=num_workers > 0)
        images = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            images.append(torch.cat([batch["image"] for batch in loader]))
        return torch.stack(images)

    here = epochs(0)
    assert torch.equal(here, epochs(1))
    assert torch.equal(here, epochs(2))
    assert not torch.equal(here[0], here[1])
    assert not torch.equal(here, epochs(0, seed=6))


# What is wrong on disk


def celeb_mask(root):
    return root / MASKS / "00005_skin.png"


def drop_line(path, number):
    lines = path.read_text().splitlines()
    del lines[number]
    path.write_text("\n".join(lines) + "\n")


CELEB, MASKS, POINTS = "celebamask_hq", "CelebAMask-HQ-mask-anno/0", "landmarks.txt"
HELEN_NAMES = ("train0_1", "train1_1", "train2_1", "test0_1", "test1_1")
FAULTS = {
    "celeb no folder": (CELEB, lambda r: shutil.rmtree(r), "celebamask_hq", "no such folder"),
    "celeb no images": (CELEB, lambda r: shutil.rmtree(r / "CelebA-HQ-img"), "CelebA-HQ-img", "no such folder"),
    "celeb no masks": (CELEB, lambda r: shutil.rmtree(r / MASKS), "mask-anno/0", "no such"),
    "celeb no image": (CELEB, lambda r: (r / "CelebA-HQ-img/6.jpg").unlink(), "6.jpg", "no such file"),
    "celeb no mask": (
        CELEB,
        lambda r: [m.unlink() for m in (r / MASKS).glob("00005_*")],
        "mask-anno/0",
        "no mask 00005_",
    ),
    "celeb unknown part": (
        CELEB,
        lambda r: celeb_mask(r).rename(celeb_mask(r).with_name("00005_beard.png")),
        "beard",
        "part 'beard'",
    ),
    "celeb no mapping": (CELEB, lambda r: (r / "CelebA-HQ-to-CelebA-mapping.txt").unlink(), "mapping.txt", "no such"),
    "celeb no partition": (CELEB, lambda r: (r / "list_eval_partition.txt").unlink(), "partition.txt", "no such"),
    "celeb partition": (CELEB, lambda r: drop_line(r / "list_eval_partition.txt", 2), "mapping", "000501.jpg"),
    "celeb mapping": (
        CELEB,
        lambda r: drop_line(r / "CelebA-HQ-to-CelebA-mapping.txt", 2),
        "mapping",
        "no line for 1 of",
    ),
    "celeb cut jpeg": (CELEB, lambda r: cut(r / "CelebA-HQ-img/5.jpg"), "5.jpg", "cannot be read"),
    "celeb cut png": (CELEB, lambda r: cut(celeb_mask(r)), "00005_skin.png", "cannot be read"),
    "celeb mask size": (CELEB, lambda r: resize(celeb_mask(r), 30), "00005_skin.png", "30 x 30"),
    "lapa no split": ("lapa", lambda r: shutil.rmtree(r / "test"), "test", "no such folder"),
    "lapa no image": ("lapa", lambda r: (r / "test/images/0_0.jpg").unlink(), "0_0.jpg", "no such file"),
    "helen no image": ("helen", lambda r: (r / "test/test0_1_image.jpg").unlink(), "test0_1_image.jpg", "no such file"),
    "lapa no label": ("lapa", lambda r: (r / "test/labels/0_0.png").unlink(), "0_0.png", "no such file"),
    "lapa no landmarks": ("lapa", lambda r: (r / "test/landmarks/0_0.txt").unlink(), "0_0.txt", "no such file"),
    "lapa 105 points": ("lapa", lambda r: drop_line(r / "test/landmarks/0_0.txt", 5), "0_0.txt", "105 points"),
    "lapa bad point": (
        "lapa",
        lambda r: (r / "test/landmarks/0_0.txt").write_text("106\n" + "1.0 x\n" * 106),
        "0_0.txt",
        "line 2",
    ),
    "lapa one point": (
        "lapa",
        lambda r: (r / "test/landmarks/0_0.txt").write_text("106\n" + "5.0 5.0\n" * 106),
        "0_0.txt",
        "all points at",
    ),
    "lapa empty landmarks": ("lapa", lambda r: (r / "test/landmarks/0_0.txt").write_text(""), "0_0.txt", "empty"),
    "lapa label value": ("lapa", lambda r: set_value(r / "test/labels/0_0.png", 11), "0_0.png", "label value 11"),
    "lapa label size": ("lapa", lambda r: resize(r / "test/labels/0_0.png", 60), "0_0.png", "60 x 60"),
    "lapa cut jpeg": ("lapa", lambda r: cut(r / "test/images/0_0.jpg"), "0_0.jpg", "cannot be read"),
    "lapa empty png": ("lapa", lambda r: cut(r / "test/labels/0_0.png", 0), "0_0.png", "cannot be read"),
    "lapa no images": (
        "lapa",
        lambda r: [p.unlink() for p in (r / "test").glob("*/*")],
        "lapa",
        "no image in split 'test'",
    ),
    "helen no landmarks": ("helen", lambda r: (r / POINTS).unlink(), "landmarks.txt", "no such file"),
    "helen no line": ("helen", lambda r: drop_line(r / POINTS, -1), "landmarks.txt", "no line for test1_1"),
    "helen 135 numbers": (
        "helen",
        lambda r: (r / POINTS).write_text((r / POINTS).read_text().partition(" ")[2]),
        "landmarks.txt",
        "line 1 .train0_1. has 135 numbers",
    ),
    "helen no label": ("helen", lambda r: (r / "test/test0_1_label.png").unlink(), "test0_1_label.png", "no such file"),
    "helen label value": (
        "helen",
        lambda r: set_value(r / "test/test0_1_label.png", 200),
        "test0_1_label",
        "value 200",
    ),
    "helen far landmarks": (
        "helen",
        lambda r: (r / POINTS).write_text("\n".join(" ".join(["9999"] * 136 + [n]) for n in HELEN_NAMES)),
        "landmarks.txt",
        "outside its image",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_on_disk_is_named_with_what_was_found_and_what_to_do(fault, copy):
    name, spoil, file, found = FAULTS[fault]
    root = copy(name)
    spoil(root)
    with pytest.raises(DataError, match=rf"{file}.*: found .*{found}.*; expected .*\. \w+"):
        for _ in create_dataset(name, root, "test", 32):
            pass


def test_unknown_split_is_refused(roots):
    with pytest.raises(ValueError, match="unknown split 'dev'; choose one of train, val, test"):
        create_dataset("lapa", roots["lapa"], "dev", 32)


def test_parts_of_the_drawing_are_classes():
    assert all(set(PART_NAMES[name]) < set(LABELS[name].names) for name in LABELS)
