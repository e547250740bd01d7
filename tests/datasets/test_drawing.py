"""Drawn faces: rare classes at their rates, left and right right, landmarks in their features."""

import cv2
import numpy as np
import pytest
from people import SIZE, faces, generator, shows

from datasets.drawing import draw_face
from datasets.drawing.canvas import PARTS
from datasets.drawing.landmarks import landmarks_68, landmarks_106
from datasets.drawing.layouts import paint_label
from datasets.drawing.person import sample_person


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
        label = paint_label(face.parts, {part: k for k, part in enumerate(PARTS)}).flatten()
        if number < 200:
            np.add.at(counts, (colour, label), 1)
            continue
        guess = counts[colour].argmax(1)
        hits += np.bincount(label[guess == label], minlength=len(PARTS))
        truth += np.bincount(label, minlength=len(PARTS))
        guesses += np.bincount(guess, minlength=len(PARTS))
    f1 = 2 * hits[1:] / np.maximum(truth + guesses, 1)[1:]
    assert f1.mean() < 0.25


def test_a_picture_does_not_depend_on_the_size():
    for number in range(8):
        small, large = (draw_face(generator("train", number), size) for size in (128, 256))
        assert (small.parts == large.parts[1::2, 1::2]).mean() > 0.95
        shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(small.image.astype(float) - shrunk).mean() < 12
