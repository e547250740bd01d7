import pytest
import timm
import torch
import torchvision
from plain_segface import torchvision_backbone, torchvision_features
from rebuilt import rebuilt_tensor

from network import BACKBONES, WeightsError
from network.backbones import create_encoder
from network.swin import shift_mask


def features_of_both(model: str, resolution: int, folder):
    """Ours and torchvision's maps of one image, with the same weights, in float64: what differs then is no rounding."""
    theirs = torchvision_backbone(model).eval()
    weights = {
        key: value if "relative_" in key and "bias_table" not in key
        # Unlike the golden files' rule, biases are small enough that deep random networks stay in range.
        else torch.from_numpy(rebuilt_tensor(key, tuple(value.shape)))
        for key, value in theirs.state_dict().items()
    }  # fmt: skip
    theirs.load_state_dict(weights)
    whole = {name_in_torchvision(key, model): value for key, value in weights.items()}
    torch.save(whole, folder / "weights.pth")
    ours = create_encoder(model, resolution, pretrained=folder / "weights.pth").eval()
    images = torch.randn(1, 3, resolution, resolution, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        return ours.double()(images), torchvision_features(theirs.double(), model, images), ours.channels


def name_in_torchvision(key: str, model: str) -> str:
    if model in ("mobilenet", "efficientnet"):
        return f"features.{key}"
    if model == "resnet":
        child, rest = key.split(".", 1)
        names = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
        return f"{names[child]}.{rest}"
    return f"features.{key[2:]}" if key.startswith("0.") else f"norm.{key[2:]}"


def assert_equal_features(model, resolution, folder):
    ours, theirs, channels = features_of_both(model, resolution, folder)
    for level, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        side = resolution // 4 // 2**level
        assert mine.shape == (1, channels[level], side, side)
        assert (mine - other).norm() <= 1e-6 * other.norm()


@pytest.mark.parametrize("model", ["swinv2_tiny", "convnext_tiny", "mobilenet", "resnet"])
def test_features_are_those_of_torchvision(model, tmp_path):
    assert_equal_features(model, 96, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in BACKBONES if "swin" not in name])
def test_features_are_those_of_torchvision_at_full_size(model, tmp_path):
    assert_equal_features(model, 224, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [224, 256, 448, 512])
@pytest.mark.parametrize("model", [name for name in BACKBONES if "swin" in name])
def test_swin_features_are_those_of_torchvision_where_windows_do_and_do_not_fit(model, resolution, tmp_path):
    assert_equal_features(model, resolution, tmp_path)


@pytest.mark.parametrize("model", BACKBONES)
def test_drop_path_and_batch_norm_are_those_of_torchvision(model):
    with torch.device("meta"):
        ours, theirs = create_encoder(model, 224, "none"), torchvision_backbone(model)
    rates = [m.drop_prob for m in ours.modules() if isinstance(m, timm.layers.DropPath)]
    if "swin" in model:  # timm has one module for the attention and one for the MLP
        assert rates[::2] == rates[1::2]
        rates = rates[::2]
    expected = [m.p for m in theirs.modules() if isinstance(m, torchvision.ops.StochasticDepth) and m.p > 0]
    assert rates == pytest.approx(expected)
    norms, expected = (
        [(m.eps, m.momentum) for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for encoder in (ours, theirs)
    )
    assert norms == expected


def test_rolling_before_padding_would_give_other_features(tmp_path):
    # The mistake that the patched blocks mend: without them the features are off by far more than rounding.
    _, theirs, _ = features_of_both("swinv2_tiny", 96, tmp_path)
    rolled_first = timm.create_model(
        "swinv2_tiny_window8_256", always_partition=True, strict_img_size=False, num_classes=0
    ).eval()
    rolled_first.prune_intermediate_layers([0, 1, 2, 3], prune_norm=True)
    ours = create_encoder("swinv2_tiny", 96, pretrained=tmp_path / "weights.pth")
    rolled_first.load_state_dict(ours.body.state_dict())
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        last = rolled_first.forward_intermediates(images, intermediates_only=True)[-1]
    assert (last - theirs[-1]).norm() > 0.01 * theirs[-1].norm()


def test_shift_mask_separates_what_the_roll_brought_together():
    mask = shift_mask((4, 4), (2, 2), (1, 1), torch.zeros(()))
    assert mask.shape == (4, 4, 4)
    assert (mask[0] == 0).all()  # the first window lies inside the picture
    assert (mask[3] == -100).sum() == 12  # in the last, every position comes from another corner
    assert (shift_mask((4, 4), (4, 2), (0, 1), torch.zeros(()))[0] == 0).all()


@pytest.mark.parametrize("model", ["convnext_tiny", "resnet", "mobilenet"])
def test_pretrained_path_takes_timm_names_too(model, tmp_path):
    source = create_encoder(model, 64, pretrained="none")
    torch.save({"state_dict": source.body.state_dict()}, tmp_path / "timm.pth")
    loaded = create_encoder(model, 64, pretrained=tmp_path / "timm.pth")
    for (name, a), b in zip(source.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_pretrained_path_of_any_timm_model_takes_its_plain_weights(tmp_path):
    whole = timm.create_model("resnet18")
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    encoder = create_encoder("timm/resnet18", 64, pretrained=tmp_path / "resnet18.pth")
    assert torch.equal(encoder.body.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)
    torch.save(timm.create_model("dla34").state_dict(), tmp_path / "dla34.pth")
    with pytest.raises(WeightsError, match=r"dla34.pth does not hold the weights of timm's resnet18"):
        create_encoder("timm/resnet18", 64, pretrained=tmp_path / "dla34.pth")


def test_checkpoint_of_a_whole_segface_is_no_encoder(tmp_path):
    torch.save({"state_dict_backbone": {}}, tmp_path / "last.pt")
    with pytest.raises(WeightsError, match=r"last.pt is a checkpoint of a whole SegFace"):
        create_encoder("mobilenet", 64, pretrained=tmp_path / "last.pt")


def test_whole_classifier_of_torchvision_is_taken(tmp_path):
    torch.save(torchvision.models.resnet101(weights=None).state_dict(), tmp_path / "resnet101.pth")
    create_encoder("resnet", 64, pretrained=tmp_path / "resnet101.pth")


def test_weights_of_another_encoder_are_refused(tmp_path):
    torch.save(create_encoder("mobilenet", 64, "none").body.state_dict(), tmp_path / "mobilenet.pth")
    with pytest.raises(WeightsError, match=r"mobilenet.pth does not hold the weights of encoder resnet"):
        create_encoder("resnet", 64, pretrained=tmp_path / "mobilenet.pth")


def test_missing_pretrained_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        create_encoder("mobilenet", 64, pretrained=tmp_path / "nothing.pth")


def test_timm_has_no_weights_for_efficientnet():
    with pytest.raises(WeightsError, match="timm has no pretrained weights for efficientnetv2_m"):
        create_encoder("efficientnet", 64, pretrained="timm")


@pytest.mark.parametrize("pretrained", ["torchvision", "timm"])
def test_failed_download_says_what_to_do(pretrained, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", no_network)
    with pytest.raises(ConnectionError, match=r"cannot fetch .*mobilenet.*--pretrained PATH.*--pretrained none"):
        create_encoder("mobilenet", 64, pretrained=pretrained)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (64, 128, 256, 512)),
        ("pvt_v2_b0", (32, 64, 160, 256)),
        ("swin_tiny_patch4_window7_224", (96, 192, 384, 768)),
        ("hrnet_w18_small", (128, 256, 512, 1024)),
        ("dla34", (64, 128, 256, 512)),
    ],
)
def test_any_timm_pyramid_works(name, channels):
    encoder = create_encoder(f"timm/{name}", 64, pretrained="none").eval()
    with torch.inference_mode():
        maps = encoder(torch.randn(1, 3, 64, 64))
    assert encoder.channels == channels
    assert [tuple(m.shape) for m in maps] == [(1, c, 16 >> i, 16 >> i) for i, c in enumerate(channels)]


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("vit_tiny_patch16_224", "none", r"strides 16.*needs 4, 8, 16, 32"),
        ("resnet1", "none", r"timm has no model 'resnet1'.*similar: .*resnet"),
        ("resnet18", "torchvision", r"--pretrained torchvision has no weights for timm/resnet18"),
    ],
)
def test_timm_models_that_cannot_be_used_are_refused(name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        create_encoder(f"timm/{name}", 224, pretrained=pretrained)
