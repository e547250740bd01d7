import json

import numpy as np
import pytest
import torch
from plain_segface import PlainSegFace, plain_loss
from rebuilt import GOLDEN, rebuilt_images, rebuilt_tensor, rebuilt_weights, released

from network import BACKBONES, HEADS, create_segface, load_weights
from network.checkpoint import state_in_published_naming
from utils.losses import segface_loss

CANONICAL = torch.tensor([[0.38, 0.44], [0.62, 0.45], [0.5, 0.56], [0.43, 0.7], [0.58, 0.7]])


def rebuilt_model(model: str, head: str, resolution: int):
    segface = create_segface(model, head, resolution, pretrained="none")
    return load_weights(segface, rebuilt_weights(released()["tensors"][f"{model}/{head}"]))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_published_architecture_is_reproduced(path):
    golden = np.load(path)
    model, head, resolution = path.stem.rsplit("_", 2)
    segface = rebuilt_model(model, f"segface_{head}", int(resolution)).eval()
    images, _ = rebuilt_images(int(golden["seed"]), int(golden["batch"]), int(resolution))
    with torch.inference_mode():
        logits = segface(images, torch.from_numpy(golden["landmarks"])).numpy()

    expected = golden["logits"]
    assert np.linalg.norm(logits[:, :, ::16, ::16] - expected) <= 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(logits.mean((0, 2, 3)), golden["channel_mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits.std((0, 2, 3)), golden["channel_std"], rtol=1e-5)
    second, best = np.sort(logits[:, :, ::4, ::4], axis=1)[:, -2:].swapaxes(0, 1)
    clear = best - second > 1e-4
    assert clear.mean() > 0.99
    assert (logits[:, :, ::4, ::4].argmax(1) == golden["argmax"])[clear].all()


@pytest.mark.slow
@pytest.mark.parametrize("case", json.loads((GOLDEN / "train_steps.json").read_text()), ids=lambda case: case["model"])
def test_published_training_steps_are_reproduced(case):
    segface = rebuilt_model(case["model"], case["head"], case["resolution"]).train(case["train_mode"])
    optimizer = torch.optim.AdamW(segface.parameters(), lr=1e-4, weight_decay=1e-5)
    images, generator = rebuilt_images(case["seed"], case["batch"], case["resolution"])
    side = case["resolution"] // 8
    labels = generator.integers(0, len(HEADS[case["head"]].class_names), (case["batch"], side, side))
    labels = torch.from_numpy(labels.repeat(8, 1).repeat(8, 2))

    def gradient_norm(prefix: str) -> float:
        # In float64: a float32 norm of a hundred million numbers is itself off by 1e-5.
        gradients = [p.grad.double() for name, p in segface.named_parameters() if name.startswith(prefix)]
        return sum(g.square().sum() for g in gradients).sqrt().item()

    for number, step in enumerate(case["steps"]):
        loss, parts = segface_loss(segface(images, torch.tensor(case["landmarks"])), labels)
        optimizer.zero_grad()
        loss.backward()
        norms = {"grad_norm": gradient_norm(""), "face_decoder_grad_norm": gradient_norm("decoder.")}
        optimizer.step()
        losses = {"loss": loss.item(), "ce": parts["ce"].item(), "dice": parts["dice"].item()}
        assert losses == pytest.approx({key: step[key] for key in losses}, rel=1e-5), f"step {number}"
        tolerance = 1e-5 if number == 0 else 1e-4
        assert norms == pytest.approx({key: step[key] for key in norms}, rel=tolerance), f"step {number}"


def agree_with_plain(model: str, head: str, resolution: int):
    torch.manual_seed(0)
    fast = create_segface(model, head, resolution, pretrained="none").double().eval()
    classes, warp = HEADS[head].class_names, HEADS[head].warp
    plain = PlainSegFace(model, classes, warp).double().eval()
    shapes = {key: tuple(value.shape) for key, value in plain.state_dict().items()}
    tables = {key: value for key, value in plain.state_dict().items() if "relative_" in key and "bias_table" not in key}
    weights = {key: torch.from_numpy(rebuilt_tensor(key, shape)).double() for key, shape in shapes.items()} | tables
    plain.load_state_dict(weights)
    load_weights(fast, weights)

    images = torch.randn(2, 3, resolution, resolution, dtype=torch.float64)
    labels = torch.randint(0, len(classes), (2, resolution, resolution))
    labels[:, :5] = 255
    landmarks = (CANONICAL * resolution + 3 * torch.randn(2, 5, 2)).double()
    expected, logits = plain(images, landmarks), fast(images, landmarks)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)

    plain_loss(expected, labels).backward()
    segface_loss(logits, labels)[0].backward()
    # Swin's final norm takes no part in the plain model; the fast one has none.
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    gradients = {name: p.grad for name, p in fast.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None]
    published = state_in_published_naming(fast, fast.state_dict() | gradients)
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(published[name], gradient, rtol=1e-9, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize(
    ("model", "head"), [("mobilenet", "segface_celeb"), ("swinv2_tiny", "segface_lapa"), ("resnet", "segface_helen")]
)
def test_fast_model_equals_plain_model_in_outputs_and_gradients(model, head):
    agree_with_plain(model, head, resolution=64)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in BACKBONES if name not in ("mobilenet", "resnet", "swinv2_tiny")])
def test_fast_model_of_every_encoder_equals_plain_model(model):
    agree_with_plain(model, "segface_celeb", resolution=96)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("side", [32, 96, 160])
def test_any_side_that_is_a_multiple_of_32_works_with_a_batch_of_one(head, side):
    segface = create_segface("mobilenet", head, 64, pretrained="none").eval()
    with torch.inference_mode():
        logits = segface(torch.randn(1, 3, side, side), CANONICAL[None] * side)
    assert logits.shape == (1, len(HEADS[head].class_names), side, side)
    assert logits.isfinite().all()


@pytest.mark.parametrize("model", ["swin_base", "swinv2_tiny"])
def test_oblong_images_work_without_a_warp(model):
    segface = create_segface(model, "segface_celeb", 64, pretrained="none").eval()
    with torch.inference_mode():
        assert segface(torch.randn(1, 3, 96, 160)).shape == (1, 19, 96, 160)


def test_every_parameter_is_used():
    segface = create_segface("efficientnet", "segface_celeb", 64, pretrained="none").eval()
    segface(torch.randn(1, 3, 64, 64)).sum().backward()
    assert not [name for name, p in segface.named_parameters() if p.grad is None]


def test_inputs_are_not_changed():
    segface = create_segface("mobilenet", "segface_lapa", 64, pretrained="none").eval()
    images, landmarks = torch.randn(1, 3, 64, 64), CANONICAL[None] * 64
    copies = images.clone(), landmarks.clone()
    segface(images, landmarks)
    assert torch.equal(images, copies[0])
    assert torch.equal(landmarks, copies[1])


@pytest.mark.parametrize(
    ("images", "landmarks", "message"),
    [
        ((1, 3, 65, 64), (1, 5, 2), r"\(1, 3, 65, 64\).*multiples of 32"),
        ((1, 4, 64, 64), (1, 5, 2), "expected .B, 3, H, W."),
        ((3, 64, 64), (1, 5, 2), "expected .B, 3, H, W."),
        ((1, 3, 64, 64), None, "needs landmarks .1, 5, 2.; found none"),
        ((2, 3, 64, 64), (1, 5, 2), "needs landmarks .2, 5, 2.; found the shape .1, 5, 2."),
        ((1, 3, 64, 96), (1, 5, 2), "square"),
    ],
)
def test_inputs_of_another_shape_are_refused(images, landmarks, message):
    segface = create_segface("mobilenet", "segface_lapa", 64, pretrained="none").eval()
    with pytest.raises(ValueError, match=message):
        segface(torch.zeros(images), None if landmarks is None else torch.rand(landmarks))


def test_landmarks_that_coincide_are_refused():
    segface = create_segface("mobilenet", "segface_lapa", 64, pretrained="none").eval()
    with pytest.raises(ValueError, match="coincide"):
        segface(torch.zeros(1, 3, 64, 64), torch.zeros(1, 5, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "segface_dogs"}, "segface_celeb, segface_lapa, segface_helen"),
        ({"resolution": 500}, "500 is no positive multiple of 32"),
        ({"model": "resnet50"}, "unknown model 'resnet50'.*swin_base.*timm/NAME"),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_segface(**arguments, pretrained="none")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_full_precision(dtype):
    torch.manual_seed(0)
    segface = create_segface("mobilenet", "segface_celeb", 64, pretrained="none").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = segface(images)
        with torch.autocast("cpu", dtype):
            mixed = segface(images)
        half = segface.to(dtype)(images.to(dtype))
    assert half.dtype == dtype
    for found in (mixed, half):
        assert (found.float() - expected).norm() < 0.05 * expected.norm()
