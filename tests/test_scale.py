"""Training with the flags of speed, memory, large batches and watching."""

import json

import pytest
import torch
from commands import SHORT, TINY, Commands
from PIL import Image
from timm.layers import BatchNormAct2d
from torch import nn

from network import BACKBONES, create_segface, load_weights
from utils.errors import SettingsError
from utils.flags import train_parser
from utils.losses import segface_loss
from utils.precision import Precision, compiled, synchronise_batch_norm
from utils.reproducibility import set_arithmetic

ONE_STEP = ("train.py", "--dataset", "celebamask_hq", *TINY, "--epochs", "1", "--samples", "0", "--log_interval", "1")


@pytest.mark.slow
def test_all_flags_at_once_leave_what_they_promise(many_data, tmp_path):
    commands = Commands(many_data, tmp_path / "logs")
    flags = (*SHORT, "--num_workers", "1", "--amp", "bf16", "--channels_last", "--grad_accum", "2", "--grad_clip", "1")
    flags = (*flags, "--ema", "0.9", "--tf32", "--cache_images", "--cache_dir", tmp_path / "cache", "--profile")
    flags = (*flags, "--wandb", "offline", "--samples", "2", "--val_interval", "2", "--expt_name", "run")
    printed = commands.succeed("train.py", "--dataset", "helen", *flags)
    folder = commands.folder("run")
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "ProfilerStep#2" for event in events) >= 1
    assert any("convolution_backward" in event.get("name", "") for event in events)
    assert Image.open(folder / "gallery.png").width > 500
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 43  # of train and val
    assert "waiting for data, peak memory" in printed
    assert "EMA's" in printed
    first, second = commands.metrics("run")
    assert (first["iteration"], second["iteration"]) == (10, 20)
    assert first["val"] is None
    assert second["val_ema"]["num_images"] == second["val"]["num_images"] == 3
    assert 0 <= first["data_wait"] < 1
    assert first["peak_memory_gb"] > 0.1
    for name in ("best_ema.pt", "ema_0.pt", "ema_1.pt"):
        load_weights(create_segface("mobilenet", "segface_helen", 64, "none"), folder / name)
    token = "decoder.class_tokens"
    assert not torch.equal(commands.weights("run", "ema_1.pt")[token], commands.weights("run", "model_1.pt")[token])
    assert torch.equal(commands.last("run")["ema"][token], commands.weights("run", "ema_1.pt")[token])


@pytest.mark.slow
def test_ranks_and_accumulated_batches_take_the_same_step(commands):
    commands.succeed(*ONE_STEP, "--train_bs", "2", "--expt_name", "ranks", ranks=2)
    commands.succeed(*ONE_STEP, "--train_bs", "2", "--grad_accum", "2", "--expt_name", "accumulated")
    ranks, accumulated = (commands.metrics(name)[0] for name in ("ranks", "accumulated"))
    assert ranks["iteration"] == accumulated["iteration"] == 1
    for key in ("loss", "ce", "dice"):
        assert ranks[key] == pytest.approx(accumulated[key], rel=1e-6)
    assert ranks["grad_norm"] == pytest.approx(accumulated["grad_norm"], rel=1e-4)
    weights, others = (commands.weights(name, "model_0.pt") for name in ("ranks", "accumulated"))
    for key in weights:
        if "running" not in key and weights[key].is_floating_point():  # statistics are of rank 0 alone
            torch.testing.assert_close(weights[key], others[key], atol=2.1e-4, rtol=0)  # AdamW's first step is lr
    close = [(weights[key] - others[key]).abs().mean() < 1e-6 for key in weights if key.endswith("proj.weight")]
    assert all(close)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["segface_celeb", "segface_lapa"])
def test_training_step_can_be_compiled_and_computes_the_same(head):
    # Traced and differentiated as --compile does it, but not turned into machine code, which takes minutes.
    segface = create_segface("mobilenet", head, 64, "none").train()
    compiled_segface = torch.compile(segface, backend="aot_eager")
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 11, (2, 64, 64))
    landmarks = torch.tensor([[20.0, 24], [44, 24], [32, 36], [24, 46], [40, 46]]).expand(2, 5, 2)
    results = []
    for model in (segface, compiled_segface):
        segface.zero_grad()
        loss, _ = segface_loss(model(images, landmarks), labels)
        loss.backward()
        results.append((loss.item(), segface.decoder.class_tokens.grad.clone()))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-4)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-2, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", BACKBONES)
def test_every_parameter_takes_part_so_ranks_need_not_look_for_unused_ones(model):
    segface = create_segface(model, "segface_celeb", 64, "none").train()
    logits = segface(torch.randn(2, 3, 64, 64))
    segface_loss(logits, torch.randint(0, 19, (2, 64, 64)))[0].backward()
    assert not [name for name, parameter in segface.named_parameters() if parameter.grad is None]


def test_batch_norm_over_all_ranks_keeps_names_activations_and_results():
    model = create_segface("mobilenet", "segface_celeb", 64, "none").eval()
    images = torch.randn(1, 3, 64, 64)
    before, names = model(images), list(model.state_dict())
    converted = synchronise_batch_norm(model, torch.device("cuda"))
    assert list(converted.state_dict()) == names
    torch.testing.assert_close(converted(images), before)
    norms = [module for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert not any(isinstance(module, BatchNormAct2d) for module in converted.modules())


def test_settings_that_the_machine_lacks_are_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SettingsError, match=r"--compile needs a C\+\+ compiler"):
        compiled(nn.BatchNorm2d(1), torch.device("cpu"))
    with pytest.raises(SettingsError, match="--sync_bn needs GPUs"):
        synchronise_batch_norm(nn.BatchNorm2d(1), torch.device("cpu"))


def test_tf32_is_allowed_forbidden_or_left_alone():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for tf32, expected in ((True, ("high", True)), (None, ("high", True)), (False, ("highest", False))):
            set_arithmetic(torch.device("cpu"), deterministic=True, tf32=tf32)
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == expected
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_paper_has_none_of_these_flags_on():
    args = vars(train_parser("").parse_args([]))
    expected = {
        "amp": "off", "compile": False, "channels_last": False, "grad_accum": 1, "grad_clip": 0.0, "sync_bn": False,
        "tf32": None, "ema": None, "wandb": "disabled", "profile": False, "cache_images": False, "cache_dir": None,
        "checkpoint_minutes": 15, "max_bad_steps": 10,
    }  # fmt: skip
    assert {key: args[key] for key in expected} == expected
    assert not Precision(torch.device("cpu")).scaler().is_enabled()
