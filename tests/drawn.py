"""Tiny drawn datasets in the three layouts: coloured shapes where a face's parts would be, each with its own label."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets import LABELS

COUNTS = {"train": 3, "val": 2, "test": 2}  # images of the datasets that the tests of datasets/ share,
SIDE = 64  # and their side

# Part -> where it lies in a unit square: left, top, right, bottom.
BOXES = {
    "hair": (0.15, 0.05, 0.85, 0.3),
    "skin": (0.25, 0.2, 0.75, 0.9),
    "brow_left": (0.3, 0.32, 0.45, 0.38),
    "brow_right": (0.55, 0.32, 0.7, 0.38),
    "eye_left": (0.3, 0.42, 0.45, 0.5),
    "eye_right": (0.55, 0.42, 0.7, 0.5),
    "nose": (0.45, 0.5, 0.55, 0.65),
    "lip_upper": (0.38, 0.7, 0.62, 0.75),
    "mouth": (0.38, 0.75, 0.62, 0.79),
    "lip_lower": (0.38, 0.79, 0.62, 0.84),
}
# The names that the datasets give to these parts. CelebAMask-HQ's l_ is the person's left, on the image's right.
PART_NAMES = {
    "celebamask_hq": ("hair", "skin", "r_brow", "l_brow", "r_eye", "l_eye", "nose", "u_lip", "mouth", "l_lip"),
    "lapa": ("hair", "face_lr_rr", "lb", "rb", "le", "re", "nose", "ul", "im", "ll"),
    "helen": ("hair", "face", "lb", "rb", "le", "re", "nose", "ulip", "imouth", "llip"),
}
# Which of the datasets' points lie at the eyes, the nose tip and the mouth corners, image left first.
FIVE = {
    "lapa": ((74, 104), (83, 105), (54,), (84,), (90,)),
    "helen": ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,)),
}
COLOURS = np.random.default_rng(7).integers(40, 255, (len(BOXES) + 1, 3))


def draw_face(dataset: str, side: int, seed: int) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A picture, its label map (side, side) of the dataset's classes, and by how many pixels (2,) it was shifted."""
    generator = np.random.default_rng(seed)
    shift = generator.integers(-side // 16, side // 16 + 1, 2)
    image = np.tile(COLOURS[-1], (side, side, 1)).astype(float)
    label = np.zeros((side, side), np.uint8)
    for colour, name, box in zip(COLOURS, PART_NAMES[dataset], BOXES.values(), strict=False):
        left, top, right, bottom = (np.array(box) * side).astype(int) + np.tile(shift, 2)
        image[max(top, 0) : bottom, max(left, 0) : right] = colour
        label[max(top, 0) : bottom, max(left, 0) : right] = LABELS[dataset].names.index(name)
    image += generator.normal(0, 6, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8)), label, shift


def landmarks(count: int, groups: tuple[tuple[int, ...], ...], side: int, shift: np.ndarray) -> np.ndarray:
    """Points (count, 2) on a circle around the face, with those of ``groups`` at eyes, nose tip and mouth corners."""
    angles = np.linspace(0, 2 * np.pi, count)
    points = side * (0.5 + 0.35 * np.stack([np.cos(angles), np.sin(angles)], -1))
    five = [(0.375, 0.46), (0.625, 0.46), (0.5, 0.6), (0.4, 0.77), (0.6, 0.77)]
    for members, (x, y) in zip(groups, five, strict=True):
        points[list(members)] = (x * side, y * side)
    return points + shift


def write_dataset(dataset: str, data_path: Path, counts: dict[str, int], side: int = 64) -> Path:
    """Write a drawn dataset under DATA_PATH and return its folder. ``counts`` are images by split."""
    root = data_path / LABELS[dataset].folder
    {"celebamask_hq": write_celebamask_hq, "lapa": write_lapa, "helen": write_helen}[dataset](root, counts, side)
    return root


def write_celebamask_hq(root: Path, counts: dict[str, int], side: int) -> None:
    (root / "CelebA-HQ-img").mkdir(parents=True)
    (root / "CelebAMask-HQ-mask-anno" / "0").mkdir(parents=True)
    mapping, partition = ["idx     orig_idx    orig_file"], ["999999.jpg 0"]  # the last is not in HQ
    splits = [split for split, count in counts.items() for _ in range(count)]
    for index, split in enumerate(splits):
        image, label, _ = draw_face("celebamask_hq", side, index)
        image.save(root / "CelebA-HQ-img" / f"{index}.jpg", quality=95)
        for name in PART_NAMES["celebamask_hq"]:
            visible = label[::2, ::2, None] == LABELS["celebamask_hq"].names.index(name)
            mask = np.repeat(visible, 3, axis=2).astype(np.uint8) * 255
            Image.fromarray(mask).save(root / "CelebAMask-HQ-mask-anno" / "0" / f"{index:05d}_{name}.png")
        mapping.append(f"{index}       {index + 500}      {index + 500:06d}.jpg")
        partition.append(f"{index + 500:06d}.jpg {('train', 'val', 'test').index(split)}")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")


def write_lapa(root: Path, counts: dict[str, int], side: int) -> None:
    for split, count in counts.items():
        for part in ("images", "labels", "landmarks"):
            (root / split / part).mkdir(parents=True)
        for index in range(count):
            image, label, shift = draw_face("lapa", side, index)
            image.save(root / split / "images" / f"{index}_0.jpg", quality=95)
            Image.fromarray(label).save(root / split / "labels" / f"{index}_0.png")
            points = landmarks(106, FIVE["lapa"], side, shift)
            lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
            (root / split / "landmarks" / f"{index}_0.txt").write_text(f"106\n{lines}\n")


def write_helen(root: Path, counts: dict[str, int], side: int) -> None:
    lines = []
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for index in range(counts[split]):
            name = f"{split}{index}_1"
            image, label, shift = draw_face("helen", side, index)
            image.save(root / split / f"{name}_image.jpg", quality=95)
            image.save(root / split / f"{name}_viz.jpg")
            Image.fromarray(label).save(root / split / f"{name}_label.png")
            points = 2 * landmarks(68, FIVE["helen"], side, shift)
            lines.append(" ".join(f"{value:.3f}" for value in points.flatten()) + f" {name}")
    (root / "landmarks.txt").write_text("\n".join(lines) + "\n")
