import errno
import os
import pickle
import random

import pytest
import torch
from rebuilt import rebuilt_weights, released

from network import HEADS, PUBLISHED, WeightsError, create_segface, load_weights, save_weights
from network.checkpoint import HUB_REPOSITORY
from network.errors import ModelError
from network.files import read_file
from network.writing import replacing


def mobilenet(head="segface_celeb"):
    return create_segface("mobilenet", head, 64, pretrained="none").eval()


def test_table_of_published_checkpoints_is_the_released_one():
    assert released()["repo_id"] == HUB_REPOSITORY
    table = {
        name: {"dataset": p.dataset, "model": p.model, "head": p.head, "resolution": p.resolution,
               "published_mean_f1": p.mean_f1, "file": p.filename(name)}
        for name, p in PUBLISHED.items()
    }  # fmt: skip
    expected = {name: {key: entry[key] for key in table[name]} for name, entry in released()["checkpoints"].items()}
    assert table == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_file_loads_strictly(name, tmp_path):
    published = PUBLISHED[name]
    shapes = released()["tensors"][f"{published.model}/{published.head}"]
    path = tmp_path / published.filename(name)
    path.parent.mkdir()
    torch.save({"state_dict_backbone": rebuilt_weights(shapes), "epoch": 299}, path)
    segface = create_segface(published.model, published.head, published.resolution, pretrained="none")
    load_weights(segface, path)

    save_weights(segface, tmp_path / "again.pt", naming="published")
    again = read_file(tmp_path / "again.pt")["state_dict_backbone"]
    assert {key: list(value.shape) for key, value in again.items()} == shapes
    for key, value in read_file(path)["state_dict_backbone"].items():
        if key.startswith("backbone.1.") and "swin" in published.model:  # unused by the model: written as an identity
            value = torch.full_like(value, float(key.endswith("weight")))
        if key.endswith("qkv.bias") and "swinv2" in published.model:  # the k bias is zero in use
            value.view(3, -1)[1] = 0
        assert torch.equal(again[key], value), key


@pytest.mark.parametrize("naming", ["segface", "published"])
@pytest.mark.parametrize("model", ["mobilenet", "swinv2_tiny", "convnext_tiny"])
def test_round_trip_is_exact(model, naming, tmp_path):
    first = create_segface(model, "segface_lapa", 64, pretrained="none")
    save_weights(first, tmp_path / "weights.pt", naming)
    second = load_weights(create_segface(model, "segface_lapa", 64, pretrained="none"), tmp_path / "weights.pt")
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert read_file(tmp_path / "weights.pt")["config"] == first.config


def test_published_tables_of_swin_are_torchvisions(tmp_path):
    from plain_segface import PlainSegFace

    segface = create_segface("swinv2_tiny", "segface_celeb", 64, pretrained="none")
    save_weights(segface, tmp_path / "weights.pt", naming="published")
    plain = PlainSegFace("swinv2_tiny", HEADS["segface_celeb"].class_names, warp=False)
    tables = {key: value.clone() for key, value in plain.state_dict().items() if "relative_" in key}
    weights = read_file(tmp_path / "weights.pt")["state_dict_backbone"]
    plain.load_state_dict(weights)  # strict: every name, no more
    assert tables
    for key, value in tables.items():
        assert torch.equal(weights[key], value), key


def test_state_dict_of_a_ddp_wrapper_loads():
    source = mobilenet()
    target = load_weights(mobilenet(), {f"module.{key}": value for key, value in source.state_dict().items()})
    assert torch.equal(source.decoder.class_tokens, target.decoder.class_tokens)


def test_tables_in_a_file_are_neither_needed_nor_in_the_way(tmp_path):
    segface = create_segface("swinv2_tiny", "segface_celeb", 64, pretrained="none")
    save_weights(segface, tmp_path / "weights.pt", naming="published")
    weights = read_file(tmp_path / "weights.pt")["state_dict_backbone"]
    without = {key: value for key, value in weights.items() if not key.endswith(("_index", "_coords_table"))}
    assert len(without) < len(weights)
    load_weights(segface, weights)
    load_weights(segface, without)


@pytest.mark.parametrize("naming", ["segface", "published"])
def test_missing_surplus_and_misshapen_tensors_are_listed(naming, tmp_path):
    save_weights(mobilenet(), tmp_path / "weights.pt", naming)
    weights = read_file(tmp_path / "weights.pt")["state_dict_backbone"]
    first, second, *_ = (key for key in weights if "transformer" in key)
    del weights[first]
    weights[second] = torch.zeros(7)
    weights["extra.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        load_weights(mobilenet(), weights)
    message = str(error.value)
    assert f"1 missing: {first}" in message
    assert f"1 misshapen: {second} (7,), expected" in message
    assert "1 surplus: extra.weight" in message


@pytest.mark.parametrize("naming", ["segface", "published"])
@pytest.mark.parametrize(
    ("model", "head", "sentence"),
    [
        ("mobilenet", "segface_celeb", "seems to hold model mobilenet with head segface_celeb (19 class tokens)"),
        (
            "convnext_tiny",
            "segface_helen",
            "model convnext_tiny with head segface_lapa or segface_helen (11 class tokens)",
        ),
    ],
)
def test_error_says_what_the_file_seems_to_hold(model, head, sentence, naming, tmp_path):
    save_weights(create_segface(model, head, 64, pretrained="none"), tmp_path / "weights.pt", naming)
    weights = read_file(tmp_path / "weights.pt")["state_dict_backbone"]
    with pytest.raises(WeightsError) as error:
        load_weights(create_segface("resnet", "segface_celeb", 64, pretrained="none"), weights)
    assert "does not fit model resnet with head segface_celeb" in str(error.value)
    assert sentence in str(error.value)


def test_published_naming_needs_one_of_the_ten_encoders(tmp_path):
    segface = create_segface("timm/resnet18", "segface_celeb", 64, pretrained="none")
    with pytest.raises(ModelError, match="does not know the encoder timm/resnet18"):
        save_weights(segface, tmp_path / "weights.pt", naming="published")
    save_weights(mobilenet(), tmp_path / "published.pt", naming="published")
    with pytest.raises(WeightsError, match="seems to hold model mobilenet"):
        load_weights(segface, tmp_path / "published.pt")
    save_weights(segface, tmp_path / "ours.pt")
    load_weights(segface, tmp_path / "ours.pt")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_code_ran",)


def test_hostile_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict_backbone": Hostile()}, tmp_path / "hostile.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("hostile.pt", "plain.pt"):
        with pytest.raises(WeightsError, match=rf"{name} was refused.*could run code"):
            load_weights(mobilenet(), tmp_path / name)
    assert not (tmp_path / "hostile_code_ran").exists()


def test_damaged_files_are_named(tmp_path):
    save_weights(mobilenet(), tmp_path / "weights.pt")
    whole = (tmp_path / "weights.pt").read_bytes()
    for name, content in {"half.pt": whole[: len(whole) // 2], "empty.pt": b"", "text.pt": b"not weights"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_weights(mobilenet(), tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match=r"list.pt holds a list"):
        load_weights(mobilenet(), tmp_path / "list.pt")
    torch.save({"state_dict_backbone": {3: torch.zeros(1)}, "config": None}, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=r"odd.pt is no SegFace checkpoint"):
        load_weights(mobilenet(), tmp_path / "odd.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other.pt is no SegFace checkpoint: it has the keys epoch"):
        load_weights(mobilenet(), tmp_path / "other.pt")


def test_random_bytes_are_never_more_than_a_clear_error(tmp_path):
    save_weights(mobilenet(), tmp_path / "weights.pt")
    whole = bytearray((tmp_path / "weights.pt").read_bytes()[:60_000])
    generator = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole) if generator.random() < 0.5 else bytearray(generator.randbytes(500))
        for _ in range(50):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (tmp_path / "damaged.pt").write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"damaged\.pt"):
            read_file(tmp_path / "damaged.pt")


def test_weights_of_another_head_of_the_same_size_are_refused(tmp_path):
    save_weights(mobilenet("segface_lapa"), tmp_path / "lapa.pt")
    with pytest.raises(WeightsError, match="was trained with head segface_lapa; the model has head segface_helen"):
        load_weights(mobilenet("segface_helen"), tmp_path / "lapa.pt")


def test_unknown_source_lists_the_published_names():
    with pytest.raises(FileNotFoundError, match=r"no weights at mobilenet_celeb_512; .*mobilenet_celeba_512"):
        load_weights(mobilenet(), "mobilenet_celeb_512")


def test_published_name_is_fetched_from_the_hub(monkeypatch, tmp_path):
    weights = rebuilt_weights(released()["tensors"]["mobilenet/segface_celeb"])
    torch.save({"state_dict_backbone": weights}, tmp_path / "fetched.pt")
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args: asked.append(args) or tmp_path / "fetched.pt")
    load_weights(mobilenet(), "mobilenet_celeba_512")
    assert asked == [("kartiknarayan/SegFace", "mobilenet_celeba_512/model_299.pt")]


def test_hub_out_of_reach_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"cannot fetch mobilenet_celeba_512/model_299.pt.*elsewhere and pass"):
        load_weights(mobilenet(), "mobilenet_celeba_512")


def test_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_text("good")

    def write_half():
        with replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_of_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "weights.pt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "weights.pt")
    assert list(tmp_path.iterdir()) == []


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    source = mobilenet()
    save_file({key: value.clone() for key, value in source.state_dict().items()}, tmp_path / "weights.safetensors")
    target = load_weights(mobilenet(), tmp_path / "weights.safetensors")
    assert torch.equal(source.decoder.class_tokens, target.decoder.class_tokens)
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match=r"broken.safetensors"):
        load_weights(mobilenet(), tmp_path / "broken.safetensors")
