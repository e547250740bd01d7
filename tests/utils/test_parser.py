"""FaceParser: pictures in, label maps of their own size out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from colours import ColourModel, face_map, iou, painted
from PIL import Image

from datasets import LABELS
from datasets.label_orders import ORDERS
from network import ModelError, create_segface, save_weights
from network.checkpoint import PUBLISHED
from utils.errors import SettingsError
from utils.inference.crops import CANONICAL
from utils.inference.torch_model import TorchModel
from utils.parser import FaceParser

NAMES = LABELS["celebamask_hq"].names


@pytest.fixture
def parser():
    return FaceParser(ColourModel())


def test_labels_have_the_size_of_the_picture(parser):
    for size in ((200, 300), (40, 40), (1, 1), (1, 500)):
        label = np.asarray(Image.fromarray(face_map()).resize(size[::-1], Image.Resampling.NEAREST))
        found = parser(painted(label))
        assert found.labels.shape == size
        assert found.labels.dtype == np.uint8
        if min(size) > 20:
            assert iou(found.labels, label) > 0.9


def test_array_picture_path_and_list(parser, tmp_path):
    picture = painted(face_map())
    Image.fromarray(picture).save(tmp_path / "a.png")
    found = parser([picture, Image.fromarray(picture), tmp_path / "a.png", str(tmp_path / "a.png")])
    assert len(found) == 4
    for parsing in found:
        np.testing.assert_array_equal(parsing.labels, parser(picture).labels)
    assert parser([]) == []


def test_names_palette_masks_and_overlay(parser):
    label = face_map()
    found = parser(painted(label))
    assert found.names == NAMES
    assert found.palette == LABELS["celebamask_hq"].palette
    assert found.mask("nose").dtype == bool
    np.testing.assert_array_equal(found.mask("nose"), found.labels == NAMES.index("nose"))
    with pytest.raises(ValueError, match="beard"):
        found.mask("beard")
    overlay = found.overlay()
    assert overlay.shape == found.image.shape
    assert (overlay[found.labels == 0] == found.image[found.labels == 0]).all()
    assert found.overlay(legend=True).shape[1] > overlay.shape[1]
    indexed = found.indexed()
    np.testing.assert_array_equal(np.asarray(indexed), found.labels)
    assert indexed.convert("RGB").getpixel((64, 70)) == found.palette[NAMES.index("nose")]


def test_statistics_are_those_of_the_label_map(parser):
    found = parser(painted(face_map()))
    y, x = np.nonzero(found.labels == NAMES.index("l_eye"))
    eye = found.statistics()["l_eye"]
    assert eye["pixels"] == len(x)
    assert eye["share"] == len(x) / found.labels.size
    assert eye["box"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert eye["centroid"] == pytest.approx([x.mean(), y.mean()], abs=0.01)
    assert found.statistics()["hat"] == {"pixels": 0, "share": 0, "box": None, "centroid": None}
    assert sum(of_class["share"] for of_class in found.statistics().values()) == pytest.approx(1)


@pytest.mark.parametrize("order", ORDERS)
def test_label_order(order):
    picture = painted(face_map())
    ours, theirs = FaceParser(ColourModel())(picture), FaceParser(ColourModel(), label_order=order)(picture)
    assert theirs.names == ORDERS[order]
    for name in NAMES:
        np.testing.assert_array_equal(ours.mask(name), theirs.mask(name))
        np.testing.assert_array_equal(
            ours.probabilities()[ours.names.index(name)], theirs.probabilities()[theirs.names.index(name)]
        )
    np.testing.assert_array_equal(ours.overlay(), theirs.overlay())
    assert ours.statistics() == theirs.statistics()


def test_probabilities_add_up_and_agree_with_the_labels(parser):
    found = parser(painted(face_map(80)))
    probabilities = found.probabilities()
    assert probabilities.shape == (19, 80, 80)
    assert probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities.astype(float).sum(0), 1, atol=5e-3)
    clear = np.sort(probabilities, axis=0)[-2] < 0.45
    np.testing.assert_array_equal(probabilities.argmax(0)[clear], found.labels[clear])


def test_landmarks_reach_a_model_that_warps():
    model = ColourModel("lapa", 64, wants_landmarks=True)
    picture = np.zeros((32, 128, 3), np.uint8)
    points = np.float32([(10, 4), (20, 4), (15, 8), (11, 12), (19, 12)])
    FaceParser(model)(picture, landmarks=points)
    np.testing.assert_allclose(model.landmarks[0][0], points * (0.5, 2), rtol=1e-6)
    prepared = FaceParser(model).prepare(picture)
    np.testing.assert_allclose(prepared.crops[0].landmarks, CANONICAL * 64, rtol=1e-6)
    found = FaceParser(model)(picture, faces=[points])
    crop = model.landmarks[-1][0]
    np.testing.assert_allclose(crop[0, 1], crop[1, 1], atol=1e-3)
    assert len(found.faces) == 1


@pytest.mark.parametrize("landmarks", [[[0, 0]] * 4, [[np.nan, 0]] * 5, "no points"])
def test_landmarks_of_another_kind_are_refused(landmarks):
    with pytest.raises(ValueError, match=r"landmarks|convert"):
        FaceParser(ColourModel())(painted(face_map()), landmarks=landmarks)


def test_landmarks_and_faces_together_are_refused(parser):
    with pytest.raises(ValueError, match="pass one of them"):
        parser(painted(face_map()), landmarks=CANONICAL, faces=[CANONICAL])


def test_spoilt_weights_are_told_of(weights, tmp_path):
    """They gave maps of background alone."""
    content = torch.load(weights)
    for value in content["state_dict_backbone"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    torch.save(content, tmp_path / "nan.pt")
    with pytest.raises(ModelError, match="not finite"):
        FaceParser.from_pretrained(tmp_path / "nan.pt", device="cpu")(painted(face_map()))


def test_label_order_of_another_dataset_is_refused():
    with pytest.raises(SettingsError, match="LaPa has others"):
        FaceParser(ColourModel("lapa"), label_order="bisenet")


def test_landmarks_of_a_list_are_refused(parser):
    with pytest.raises(ValueError, match="one picture"):
        parser([painted(face_map())], landmarks=CANONICAL)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "celeb.pt"
    torch.manual_seed(0)
    save_weights(create_segface("mobilenet", "segface_celeb", 64, "none"), path)
    return path


def test_weights_say_what_they_are(weights):
    model = FaceParser.from_pretrained(weights, device="cpu").model
    assert (model.labels.title, model.resolution, model.wants_landmarks) == ("CelebAMask-HQ", 64, False)
    assert FaceParser.from_pretrained(weights, device="cpu", resolution=96).model.resolution == 96


def test_labels_are_those_of_the_network_by_hand(weights):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (75, 130, 3), np.uint8))
    parser = FaceParser.from_pretrained(weights, device="cpu")
    image = (
        torch.from_numpy(np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))).permute(2, 0, 1)[None] / 255
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = F.interpolate(parser.model.network((image - mean) / std), (75, 130), mode="bilinear")[0]
    best, second = logits.topk(2, dim=0).values
    clear = (best - second > 1e-4).numpy()
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(parser(picture).labels[clear], logits.argmax(0).numpy()[clear])


def test_threads_share_a_parser(weights):
    parser = FaceParser.from_pretrained(weights, device="cpu")
    pictures = [np.random.default_rng(k).integers(0, 255, (70, 60, 3), np.uint8) for k in range(12)]
    expected = [parser(picture).labels for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(parser, pictures), expected, strict=True):
            np.testing.assert_array_equal(found.labels, alone)


def test_a_published_file_is_known_by_its_tensors_and_its_folder(tmp_path):
    """It has no settings in it; LaPa and Helen have as many classes, so these need a word."""
    for head in ("segface_celeb", "segface_lapa"):
        path = tmp_path / head / "model_299.pt"
        save_weights(create_segface("mobilenet", head, 64, "none"), path, naming="published")
        torch.save({"state_dict_backbone": torch.load(path)["state_dict_backbone"]}, path)
    model = TorchModel(tmp_path / "segface_celeb" / "model_299.pt", "cpu", resolution=64)
    assert model.network.config == {"model": "mobilenet", "head": "segface_celeb", "resolution": 64}
    path = tmp_path / "segface_lapa" / "model_299.pt"
    with pytest.raises(SettingsError, match="--dataset lapa or helen"):
        TorchModel(path, "cpu")
    assert TorchModel(path, "cpu", dataset="lapa", resolution=64).wants_landmarks
    assert not TorchModel(path, "cpu", dataset="helen", resolution=64).wants_landmarks
    folder = tmp_path / "mobilenet_celeba_512"  # as the Hub has it
    (tmp_path / "segface_celeb").rename(folder)
    assert TorchModel(folder / "model_299.pt", "cpu").resolution == PUBLISHED["mobilenet_celeba_512"].resolution


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:3"])
def test_unknown_devices(weights, device):
    with pytest.raises(SettingsError, match=device):
        FaceParser.from_pretrained(weights, device=device)
