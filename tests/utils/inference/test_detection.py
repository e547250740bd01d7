"""YuNet's code in OpenCV, on a network with YuNet's outputs that finds a red spot."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from colours import ColourModel
from onnx import TensorProto, helper, numpy_helper

from datasets import DataError
from utils.inference.detection import SIDE, YuNet, fetch_detector
from utils.parser import FaceParser

STRIDES = (8, 16, 32)
# The five points from the corner of a cell in cells, in YuNet's order, and the logarithms of the box's sides in cells.
POINTS = np.float32([(-1, -1), (1, -1), (0, 0), (-0.5, 1), (0.5, 1)])
SIDES = (4.0, 6.0)


def spot_detector(path):
    """An ONNX file with the inputs and outputs of face_detection_yunet: a face is where 8 x 8 pixels are red."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    # BGR input: red without green and blue, 0 to 255, is what the weights of the convolution look for.
    for stride in STRIDES:
        weight = np.zeros((1, 3, stride, stride), np.float32)
        weight[:, 2], weight[:, :2] = 1 / 255 / stride**2, -1 / 255 / stride**2
        redness, score = f"red{stride}", f"score{stride}"
        of = [constant(f"w{stride}", weight)]
        nodes.append(helper.make_node("Conv", ["input", *of], [redness], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [redness], [f"c{stride}"]))
        nodes.append(helper.make_node("Transpose", [f"c{stride}"], [f"t{stride}"], perm=[0, 2, 3, 1]))
        shape = constant(f"s{stride}", np.int64([1, -1, 1]))
        nodes.append(helper.make_node("Reshape", [f"t{stride}", shape], [score]))
        cells = (SIDE // stride) ** 2
        only = np.float32(stride == 8)
        box = np.tile(np.float32([0.5, 0.5, math.log(SIDES[0]), math.log(SIDES[1])]), (1, cells, 1))
        points = np.tile(POINTS.flatten(), (1, cells, 1))
        zero = constant(f"zero{stride}", np.float32(0))
        nodes.append(helper.make_node("Mul", [score, constant(f"only{stride}", only)], [f"cls_{stride}"]))
        nodes.append(helper.make_node("Identity", [score], [f"obj_{stride}"]))
        for name, value in (("bbox", box), ("kps", points)):
            silent = f"{name}silent{stride}"
            nodes.append(helper.make_node("Mul", [score, zero], [silent]))
            nodes.append(helper.make_node("Add", [constant(f"{name}c{stride}", value), silent], [f"{name}_{stride}"]))
    outputs = [
        helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, (SIDE // stride) ** 2, depth])
        for name, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in STRIDES
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "spots", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return spot_detector(tmp_path_factory.mktemp("detector") / "spots.onnx")


def picture(*corners, size=(640, 640), side=8):
    rgb = np.full((*size, 3), 90, np.uint8)
    for x, y in corners:
        rgb[y : y + side, x : x + side] = (255, 0, 0)
    return rgb


def test_box_landmarks_and_score(spots):
    (face,) = YuNet(spots)(picture((320, 160)))
    cell = np.float32([320, 160])
    np.testing.assert_allclose(face.landmarks, cell + 8 * POINTS, atol=1e-3)
    width, height = 8 * SIDES[0], 8 * SIDES[1]
    np.testing.assert_allclose(face.box, (*(cell + 4 - np.array([width, height]) / 2), width, height), atol=1e-3)
    assert face.score == pytest.approx(1, abs=1e-3)


def test_large_pictures_are_shrunk_and_their_points_enlarged(spots):
    (face,) = YuNet(spots)(picture((960, 480), size=(1920, 1920), side=24))
    np.testing.assert_allclose(face.landmarks, np.float32([960, 480]) + 24 * POINTS, atol=1e-2)


def test_blue_is_not_red(spots):
    assert YuNet(spots)(picture((320, 160))[..., ::-1]) == []


def test_several_faces_none_and_the_lowest_score(spots):
    two = YuNet(spots)(picture((160, 160), (400, 320)))
    assert sorted(int(face.landmarks[2, 0]) for face in two) == [160, 400]
    assert YuNet(spots)(picture()) == []
    faint = picture()
    faint[160:168, 320:328] = (200, 0, 0)  # a score of 0.78
    assert YuNet(spots)(faint) == []
    assert len(YuNet(spots, min_score=0.7)(faint)) == 1


def test_threads_share_a_detector(spots):
    find = YuNet(spots)
    pictures = [picture((8 * k, 160)) for k in range(10, 22)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(find, pictures))
    assert [round(float(face.landmarks[2, 0])) for (face,) in found] == [8 * k for k in range(10, 22)]


def test_files_that_are_no_detector(tmp_path):
    with pytest.raises(FileNotFoundError, match="face_detection_yunet"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(DataError, match=r"text\.onnx"):
        YuNet(tmp_path / "text.onnx")


def test_without_network_the_error_says_what_to_do(monkeypatch):
    def refuse(repository, filename):
        assert (repository, filename) == ("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx")
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ConnectionError, match="--detector PATH"):
        fetch_detector()


def test_parser_takes_the_faces_of_the_detector(spots, monkeypatch):
    monkeypatch.setattr("utils.parser.open_model", lambda *_: ColourModel(resolution=64))
    parser = FaceParser.from_pretrained("any weights", detector=spots)
    found = parser(picture((320, 160)))
    (face,) = found.faces
    np.testing.assert_allclose(face.landmarks, np.float32([320, 160]) + 8 * POINTS, atol=1e-3)
    assert parser(picture()).faces == ()
