"""Aligned crops, and label maps back in the picture."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from colours import ColourModel, face_map, iou, painted
from PIL import Image

from datasets import LABELS
from network.warp import CANONICAL_LANDMARKS, CANONICAL_SIDE
from utils.inference.crops import CANONICAL, Crop, Face, aligned, aligned_square, compose, probabilities, whole
from utils.inference.label_maps import best_class, enlarged, softmax
from utils.parser import FaceParser

FIVE = np.float32([(-30, -25), (30, -25), (0, 5), (-22, 35), (22, 35)])  # of an upright face around 0, 0
NAMES = LABELS["celebamask_hq"].names


def turned(angle, scale, shift):
    """The five points of a face that is turned, enlarged and moved."""
    c, s = math.cos(math.radians(angle)) * scale, math.sin(math.radians(angle)) * scale
    return np.float32(FIVE @ np.array([[c, s], [-s, c]]) + shift)


def of_ffhq(landmarks):
    """Corners of the crop as FFHQ's script computes them, line by line: upper left, lower left, lower right, ..."""
    eye_left, eye_right, _, mouth_left, mouth_right = landmarks
    eye_avg = (eye_left + eye_right) * 0.5
    eye_to_eye = eye_right - eye_left
    mouth_avg = (mouth_left + mouth_right) * 0.5
    eye_to_mouth = mouth_avg - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


@pytest.mark.parametrize("angle", [0, 25, -60, 180])
@pytest.mark.parametrize("squeeze", [1, 0.4])
def test_square_is_that_of_celeba_hq(angle, squeeze):
    landmarks = turned(angle, 1.7, (200, 150)) * (squeeze, 1)
    corners = aligned_square(landmarks) @ np.array([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_allclose(corners.T, of_ffhq(np.float64(landmarks)), rtol=1e-9, atol=1e-6)


def test_crop_shows_what_pillow_cuts_out():
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (300, 400, 3)), (0, 0), 4)
    picture = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    landmarks = turned(20, 0.7, (210, 150))
    quad = of_ffhq(np.float64(landmarks)).flatten()
    expected = Image.fromarray(picture).transform((64, 64), Image.Transform.QUAD, tuple(quad), Image.Resampling.BICUBIC)
    found = aligned(picture, landmarks, 64).image
    inner = slice(4, -4)
    assert np.abs(found[inner, inner].astype(int) - np.asarray(expected)[inner, inner]).mean() < 6
    # A shift of a pixel would show.
    shifted = aligned(picture, landmarks + np.float32([3, 0]), 64).image
    assert np.abs(shifted[inner, inner].astype(int) - np.asarray(expected)[inner, inner]).mean() > 12


def test_landmarks_are_those_of_the_crop():
    landmarks = turned(35, 1.2, (180, 160))
    crop = aligned(np.zeros((300, 400, 3), np.uint8), landmarks, 256)
    back = np.column_stack([crop.landmarks, np.ones(5)]) @ crop.to_picture.T
    np.testing.assert_allclose(back, landmarks, atol=1e-3)
    assert crop.landmarks[0, 1] == pytest.approx(crop.landmarks[1, 1], abs=1e-3)  # the eyes are level


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_points_of_no_face_are_refused(landmarks):
    with pytest.raises(ValueError, match="not those of a face"):
        aligned(np.zeros((50, 50, 3), np.uint8), landmarks, 64)


def scene(placements, size=(420, 640), side=256):
    """A picture with a painted face at each (angle, scale, shift), its label map, and their landmarks."""
    label, faces = np.zeros(size, np.uint8), []
    for placement in placements:
        landmarks = turned(*placement)
        square = aligned_square(landmarks) @ np.diag([1 / side, 1 / side, 1])
        of_face = face_map(side)
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        inverse = np.linalg.inv(np.vstack([square, [0, 0, 1]]))
        u, v = (inverse @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)]))[:2].reshape(2, *size)
        inside = (u >= 0) & (u < side) & (v >= 0) & (v < side)
        values = of_face[v[inside].astype(int), u[inside].astype(int)]
        label[inside] = np.where(values, values, label[inside])
        faces.append(landmarks)
    return painted(label), label, faces


@pytest.mark.parametrize("angle", [0, 30, -75, 170])
@pytest.mark.parametrize("scale", [0.6, 1.4])
def test_round_trip_of_a_face(angle, scale):
    picture, label, faces = scene([(angle, scale, (300, 200))])
    found = FaceParser(ColourModel(resolution=256))(picture, faces=faces)
    assert iou(found.labels, label) > 0.97
    assert len(found.faces) == 1


def test_faces_that_touch_do_not_erase_each_other():
    placements = [(10, 0.8, (180, 200)), (-15, 0.9, (345, 210)), (0, 0.5, (530, 120))]
    picture, label, faces = scene(placements)
    features = np.isin(label, [NAMES.index(name) for name in ("l_eye", "r_eye", "nose", "u_lip", "l_lip")])
    parser = FaceParser(ColourModel(resolution=256), batch_size=2)
    maps = [parser(picture, faces=order).labels for order in (faces, faces[::-1], faces[1:] + faces[:1])]
    for found in maps:
        assert (found[features] == label[features]).mean() > 0.97
        assert iou(found, label) > 0.95
    assert (maps[0] == maps[1]).all()
    assert parser.model.batches == 3 * [2, 1]


def test_nearest_crop_decides_and_background_gives_way():
    """Two crops of the same place that disagree: the nearer one wins where it has a class, else the other."""
    crops = [Crop(np.zeros((64, 64, 3), np.uint8), FIVE, np.array([[1.0, 0, x], [0, 1.0, 0]])) for x in (0, 20)]
    logits = np.zeros((2, 3, 64, 64), np.float32)
    logits[0, 1], logits[1, 2] = 1, 1
    logits[1, :, :32] = [[[2]], [[0]], [[0]]]  # the second says background in its upper half
    labels, owner = compose((64, 90), crops, logits)
    assert (labels[:, :20] == 1).all()
    assert (labels[40:, 22:40] == 1).all()  # nearer to the first
    assert (labels[40:, 45:84] == 2).all()  # nearer to the second
    assert (labels[:30, 45:64] == 1).all()  # where it says background, the first decides
    assert (labels[:30, 64:] == 0).all()
    assert set(np.unique(owner[:, 84:])) == {-1}
    assert (owner[:30, 64:84] == 1).all()  # background, but the second crop's


def test_face_at_the_border_is_mirrored_and_one_outside_is_left_out():
    picture, label, faces = scene([(0, 1, (60, 60))])
    found = FaceParser(ColourModel(resolution=256))(picture, faces=[*faces, turned(0, 1, (5000, 5000))])
    assert iou(found.labels, label) > 0.95
    crop = aligned(picture, faces[0], 64)
    assert crop.image.any(axis=-1).mean() > 0.5


def test_large_faces_are_antialiased():
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = aligned(stripes, turned(0, 4, (600, 600)), 64)
    assert np.abs(crop.image[8:-8, 8:-8].astype(int) - 127).max() < 30


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (97, 250), (30, 20), (512, 300)])
def test_label_map_of_a_size_is_that_of_enlarged_logits(size):
    logits = torch.randn(1, 7, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0]
    plane = enlarged(logits[0].numpy(), size)
    best, second = expected.topk(2, dim=0).values
    clear = (best - second > 1e-4).numpy()
    assert (best_class(plane, 7) == expected.argmax(0).numpy())[clear].all()
    assert clear.mean() > 0.9 or size == (1, 1)
    found = np.stack(list(softmax(plane, 7)))
    np.testing.assert_allclose(found, expected.softmax(0).numpy(), atol=1e-5)


def test_probabilities_of_background_in_a_crop_are_those_of_the_model():
    """They were certain there, with a jump along every face's edge."""
    crops = (Crop(np.zeros((64, 64, 3), np.uint8), FIVE, np.array([[1.0, 0, 0], [0, 1.0, 0]])),)
    logits = np.zeros((1, 2, 64, 64), np.float32)
    logits[0, 0] = np.log(3)
    labels, owner = compose((64, 90), crops, logits)
    assert (labels == 0).all()
    found = probabilities((64, 90), crops, logits, owner, 2)
    np.testing.assert_allclose(found[:, :, :64].mean((1, 2)), (0.75, 0.25), atol=1e-3)
    np.testing.assert_array_equal(found[:, :, 64:].mean((1, 2)), (1, 0))


@pytest.mark.parametrize("landmarks", [FIVE * 1e3, FIVE + 1e5, FIVE * 1e30])
def test_faces_far_beyond_the_picture_are_refused(landmarks):
    """They took minutes, and memory without end."""
    with pytest.raises(ValueError, match="far beyond"):
        aligned(np.zeros((200, 300, 3), np.uint8), landmarks, 64)


def test_a_face_larger_than_the_picture_is_cropped_quickly():
    picture = np.full((2000, 3000, 3), 77, np.uint8)
    assert (aligned(picture, FIVE * 60 + 1000, 64).image == 77).all()


def test_of_equal_logits_the_first_class_wins():
    assert (best_class(lambda k: np.zeros((2, 2), np.float32), 5) == 0).all()


def test_canonical_landmarks_are_those_of_the_model():
    np.testing.assert_allclose(CANONICAL, np.array(CANONICAL_LANDMARKS) / CANONICAL_SIDE, rtol=1e-6)
    np.testing.assert_allclose(whole(np.zeros((10, 20, 3), np.uint8), 64).landmarks, CANONICAL * 64, rtol=1e-6)
    points = whole(np.zeros((10, 20, 3), np.uint8), 40, np.float32([(20, 10)] * 5)).landmarks
    assert points.tolist() == [[40, 40]] * 5


def test_faces_of_a_detector_are_looked_for_in_each_picture():
    picture, label, faces = scene([(0, 1, (300, 200))])
    seen = []

    def detector(rgb):
        seen.append(rgb.shape)
        return [Face(faces[0], (1.0, 2.0, 3.0, 4.0), 0.9)] if rgb.any() else []

    parser = FaceParser(ColourModel(resolution=256), detector)
    with_face, without = parser([picture, np.zeros((50, 70, 3), np.uint8)])
    assert iou(with_face.labels, label) > 0.97
    assert with_face.faces[0].score == 0.9
    assert without.faces == ()
    assert (without.labels == 0).all()
    assert without.probabilities()[0].min() == 1
    assert seen == [picture.shape, (50, 70, 3)]
