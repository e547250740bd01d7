"""export.py: ONNX files that compute what PyTorch does, and that need no PyTorch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from rebuilt import rebuilt_weights

import export
import predict
from datasets import LABELS, DataError
from network import BACKBONES, HEADS, create_segface, label_map, load_weights, save_weights
from network.checkpoint import state_in_published_naming
from utils import cli
from utils.errors import SettingsError
from utils.export import int8, onnx_export
from utils.export.onnx_export import to_onnx
from utils.export.parity import Parity, ParityError, compare, sample_images
from utils.inference.crops import CANONICAL
from utils.inference.onnx_model import OnnxModel, providers
from utils.inference.torch_model import TorchModel
from utils.parser import FaceParser

SIDE = 64
IMAGES = sample_images(SIDE)
# Every encoder, with the three heads in turns.
CASES = [(name, list(HEADS)[number % len(HEADS)]) for number, name in enumerate(BACKBONES)]


def random_weights(path, name="mobilenet", head="segface_celeb"):
    """A checkpoint with the weights of the golden outputs, at which no activation vanishes or explodes."""
    network = create_segface(name, head, SIDE, "none")
    shapes = {key: list(value.shape) for key, value in state_in_published_naming(network, network.state_dict()).items()}
    save_weights(load_weights(network, rebuilt_weights(shapes)), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return random_weights(tmp_path_factory.mktemp("weights") / "celeb.pt")


@pytest.fixture(scope="module")
def model(weights):
    return TorchModel(weights, "cpu")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A file of logits and one of labels from floats."""
    folder = tmp_path_factory.mktemp("exported")
    to_onnx(model, folder / "logits.onnx", "uint8", "logits", "some weights")
    to_onnx(model, folder / "labels.onnx", "float32", "labels", "some weights")
    return folder


def call(monkeypatch, capsys, *flags):
    """Run export.py in this process; its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, flags)])
    code = 0
    try:
        cli.run(export.main)
    except SystemExit as end:
        code = end.code
    return code, "".join(capsys.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), CASES)
def test_every_encoder_computes_the_same(tmp_path, name, head):
    model = TorchModel(random_weights(tmp_path / "w.pt", name, head), "cpu")
    to_onnx(model, tmp_path / "m.onnx", "uint8", "logits", name)
    found = OnnxModel(tmp_path / "m.onnx", "cpu")
    parity = compare(model, found, IMAGES)
    assert parity.difference <= 1e-4 * max(1, parity.largest), parity.in_words()
    assert parity.agreement >= 0.999
    parity.check()
    assert found.wants_landmarks == HEADS[head].warp


@pytest.mark.slow
def test_logits_by_hand(model, exported):
    """Without any of our code around the file: uint8 in, logits out, in batches of any size."""
    session = onnxruntime.InferenceSession(exported / "logits.onnx", providers=["CPUExecutionProvider"])
    assert [(value.name, value.type) for value in session.get_inputs()] == [("image", "tensor(uint8)")]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    for number in (1, 4, 5):
        images = IMAGES[:number]
        (found,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
        normal = torch.from_numpy((np.float32(images) / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = model.network(normal)
        assert found.shape == (number, 19, SIDE, SIDE)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_labels_from_floats(model, exported):
    session = onnxruntime.InferenceSession(exported / "labels.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["labels"], {"image": np.float32(IMAGES.transpose(0, 3, 1, 2)) / 255})
    assert found.dtype == np.uint8
    expected = label_map(torch.from_numpy(model.logits(IMAGES, np.zeros((5, 5, 2), np.float32))))
    assert (found == expected.numpy()).mean() > 0.999
    parser = FaceParser.from_pretrained(exported / "labels.onnx")
    assert not parser.model.gives_logits
    picture = IMAGES[2]
    np.testing.assert_array_equal(parser(picture).labels, found[2])
    assert compare(model, parser.model, IMAGES).difference is None


@pytest.mark.slow
def test_metadata(exported):
    about = {entry.key: entry.value for entry in onnx.load(exported / "logits.onnx").metadata_props}
    told = json.loads(about["segface"])
    celeb = LABELS["celebamask_hq"]
    assert (told["dataset"], told["model"], told["resolution"]) == ("celebamask_hq", "mobilenet", SIDE)
    assert told["names"] == list(celeb.names)
    assert told["palette"] == [list(colour) for colour in celeb.palette]
    assert told["versions"]["torch"] == torch.__version__
    onnx.checker.check_model(str(exported / "logits.onnx"))


@pytest.mark.slow
def test_predict_runs_the_file_without_pytorch(exported, model, tmp_path):
    Image.fromarray(IMAGES[3]).resize((90, 50)).save(tmp_path / "a.png")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['timm'] = sys.modules['torchvision'] = None\n"
        f"sys.argv = ['predict.py', '--weights', {str(exported / 'logits.onnx')!r}, '--input', "
        f"{str(tmp_path / 'a.png')!r}, '--output', {str(tmp_path / 'out')!r}, '--json', '--probs']\n"
        "import predict\npredict.main()"
    )
    folder = str(predict.__file__).rpartition("/")[0]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, result.stderr
    found = np.asarray(Image.open(tmp_path / "out" / "labels" / "a.png"))
    expected = FaceParser(model)(tmp_path / "a.png").labels
    assert found.shape == (50, 90)
    assert (found == expected).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [{"resolution": 96}, {"dataset": "lapa"}, {"output": "labels"}])
def test_metadata_that_do_not_fit_are_told_of(exported, tmp_path, wrong):
    content = onnx.load(exported / "logits.onnx")
    told = json.loads(content.metadata_props[0].value) | wrong
    onnx.helper.set_model_props(content, {"segface": json.dumps(told)})
    onnx.save(content, tmp_path / "m.onnx")
    with pytest.raises(DataError, match="export it again"):
        OnnxModel(tmp_path / "m.onnx", "cpu")


@pytest.mark.slow
def test_devices_of_a_file(exported):
    with pytest.raises(SettingsError, match="auto, cpu or cuda"):
        OnnxModel(exported / "logits.onnx", "mps")
    with pytest.raises(SettingsError, match="onnxruntime-gpu"):
        providers("cuda", ["CPUExecutionProvider"])
    assert providers("auto", ["CUDAExecutionProvider", "CPUExecutionProvider"])[0] == "CUDAExecutionProvider"


@pytest.mark.slow
def test_command_checks_and_writes(weights, tmp_path, monkeypatch, capsys):
    code, printed = call(monkeypatch, capsys, "--weights", weights, "--output", tmp_path / "new" / "m.onnx")
    assert code == 0, printed
    assert "largest difference of a logit" in printed
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.onnx"]
    code, printed = call(monkeypatch, capsys, "--weights", weights, "--output", tmp_path / "new" / "m.onnx")
    assert code == 1
    assert "--overwrite" in printed


@pytest.mark.slow
def test_a_file_that_differs_is_not_kept(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "IMAGENET_MEAN", (0.485, 0.456, 0.5))
    code, printed = call(monkeypatch, capsys, "--weights", weights, "--output", tmp_path / "m.onnx")
    assert code == 1
    assert "does not compute what PyTorch does" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("difference", "largest", "agreement", "good"),
    [
        (9e-4, 5, 1, True), (2e-3, 5, 1, False), (2e-3, 100, 1, True), (6e-3, 100, 1, False), (0, 5, 0.998, False),
        (None, None, 0.9995, True), (None, None, 0.5, False), (float("nan"), 5, 1, False),
        (0, 5, float("nan"), False),
    ],
)  # fmt: skip
def test_what_parity_allows(difference, largest, agreement, good):
    parity = Parity(difference, largest, agreement)
    if good:
        parity.check()
    else:
        with pytest.raises(ParityError, match="not kept"):
            parity.check()


@pytest.mark.slow
def test_int8(weights, model, tmp_path, monkeypatch, capsys):
    for number, image in enumerate(np.repeat(IMAGES, 2, 0)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    path = tmp_path / "m.onnx"
    code, printed = call(
        monkeypatch, capsys, "--weights", weights, "--output", path, "--int8", "--calibration", tmp_path
    )
    assert code == 0, printed
    assert "int8 beside PyTorch on 2 pictures, which the calibration did not see" in printed
    graph = onnx.load(path).graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    assert sum(value.data_type == onnx.TensorProto.INT8 for value in graph.initializer) > 50
    assert path.stat().st_size < 0.5 * weights.stat().st_size
    found = OnnxModel(path, "cpu")
    logits, expected = (each.logits(IMAGES, np.float32([CANONICAL * SIDE] * 5)) for each in (found, model))
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.9


def test_pictures_to_calibrate_with():
    few, many = np.zeros((9, 2, 2, 3), np.uint8), np.arange(20)[:, None, None, None] * np.ones((20, 2, 2, 3))
    assert all(part is few for part in int8.split(few))
    seen, others = int8.split(many)
    assert others[:, 0, 0, 0].tolist() == [4, 9, 14, 19]
    assert len(seen) == 16
    with pytest.raises(SettingsError, match="--calibration"):
        int8.calibration_images(["/nowhere"], SIDE)


def test_flags_that_cannot_be(weights, tmp_path, monkeypatch, capsys):
    swin = random_weights(tmp_path / "swin.pt", "swinv2_tiny")
    for flags, message in (
        (("--weights", weights, "--int8"), "--calibration"),
        (("--weights", swin, "--int8", "--calibration", tmp_path), "--int8 is for mobilenet"),
        (("--weights", tmp_path / "none.pt"), "no weights at"),
        (("--weights", weights, "--calibration", tmp_path), "--calibration is for --int8"),
    ):
        code, printed = call(monkeypatch, capsys, *flags, "--output", tmp_path / "m.onnx")
        assert code == 1
        assert message in printed
        assert not (tmp_path / "m.onnx").exists()


def test_files_that_are_no_segface(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"export\.py"):
        OnnxModel(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(DataError, match="onnxruntime can run"):
        OnnxModel(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["image"], ["y"])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [other])
    content = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    fitting = json.dumps({"dataset": "lapa", "resolution": 64, "output": "logits", "model": "mobilenet"})
    told = ("{", '{"dataset": "cats"}', "[]", fitting, fitting.replace("64", "-64"), fitting.replace("64", "0"))
    for about in ({}, *({"segface": text} for text in told)):
        onnx.helper.set_model_props(content, about)
        onnx.save(content, tmp_path / "other.onnx")
        with pytest.raises(DataError, match=r"no SegFace of export\.py"):
            OnnxModel(tmp_path / "other.onnx")


def test_what_is_fixed_in_a_file_cannot_be_set(tmp_path):
    with pytest.raises(SettingsError, match="leave out --amp, --input_resolution"):
        FaceParser.from_pretrained(tmp_path / "m.onnx", amp="bf16", resolution=64)
