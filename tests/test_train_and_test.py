"""The entry points as a user runs them."""

import hashlib
import json
import os
import subprocess

import pytest
import torch
from commands import MEASURED, REPOSITORY, SHORT, TINY, assert_same_weights
from drawn import write_dataset
from PIL import Image

from datasets import LABELS
from network import create_segface, load_weights, save_weights
from network.files import read_file
from utils.config import complete
from utils.flags import train_parser


@pytest.mark.slow
@pytest.mark.parametrize("dataset", LABELS)
def test_training_leaves_what_it_promises(dataset, commands):
    printed = commands.succeed("train.py", "--dataset", dataset, *SHORT, "--expt_name", "run", "--num_workers", "2")
    folder = commands.folder("run")
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "config.json", "train.log", "metrics.jsonl", "curves.png", "gallery.png", "last.pt", "previous.pt", "best.pt",
        "model_0.pt", "model_1.pt",
    }  # fmt: skip
    assert "mean F1, without background" in printed
    assert "mean F1" in (folder / "train.log").read_text()
    first, second = commands.metrics("run")
    assert (first["epoch"], first["iteration"], second["iteration"]) == (0, 2, 4)  # 5 images: the odd one is dropped
    assert first["loss"] == pytest.approx(0.5 * first["ce"] + 0.5 * first["dice"])
    assert first["lr"] == 1e-4
    assert second["val"]["num_images"] == (7 if dataset == "helen" else 3)
    config = json.loads((folder / "config.json").read_text())
    assert (config["dataset"], config["model"], config["seed"]) == (dataset, "mobilenet", 32)
    last = read_file(folder / "last.pt")
    assert {"state_dict_backbone", "optimizer", "scheduler", "epoch", "iteration", "config"} <= set(last)
    assert (last["epoch"], last["iteration"]) == (1, 4)
    assert_same_weights(last["state_dict_backbone"], read_file(folder / "model_1.pt")["state_dict_backbone"])
    load_weights(create_segface("mobilenet", LABELS[dataset].head, 64, "none"), folder / "best.pt")


@pytest.mark.slow
def test_same_seed_gives_the_same_run_and_another_seed_another(commands):
    weights = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        commands.succeed("train.py", "--dataset", "lapa", *SHORT, "--seed", seed, "--expt_name", name)
        weights[name] = read_file(commands.folder(name) / "last.pt")["state_dict_backbone"]
    assert_same_weights(weights["a"], weights["b"])
    assert not torch.equal(weights["a"]["decoder.class_tokens"], weights["c"]["decoder.class_tokens"])
    a, b = ([{k: v for k, v in line.items() if k not in MEASURED} for line in commands.metrics(n)] for n in "ab")
    assert a == b


@pytest.mark.slow
def test_results_lie_beside_the_weights_of_their_run(commands, tmp_path):
    commands.succeed("train.py", "--dataset", "helen", *SHORT, "--epochs", "1", "--expt_name", "run")
    moved = commands.folder("run").rename(commands.folder("moved"))
    test = ("test.py", "--model_path", moved / "last.pt", "--num_workers", "0")
    commands.succeed(*test)
    assert (moved / "results.json").is_file()
    assert Image.open(moved / "samples" / "gallery.png").format == "PNG"
    commands.succeed(
        "test.py", "--model_path", moved / "last.pt", "--num_workers", "0", "--split", "train", "--samples", 0
    )
    assert [path.name for path in (moved / "samples").iterdir()] == ["gallery.png"]
    commands.succeed(*test, "--split", "train")
    assert (moved / "samples" / "gallery_train.png").is_file()
    assert not commands.folder("run").exists()


@pytest.mark.slow
def test_a_new_run_of_the_same_name_keeps_the_old_one(commands):
    flags = ("--dataset", "lapa", *SHORT, "--epochs", "1", "--expt_name", "run")
    commands.succeed("train.py", *flags)
    old = (commands.folder("run") / "last.pt").read_bytes()
    printed = commands.succeed("train.py", *flags, "--seed", "5")
    assert "an earlier run was here" in printed
    assert (commands.folder("run.1") / "last.pt").read_bytes() == old
    assert (commands.folder("run") / "last.pt").read_bytes() != old


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_train_together_and_validate_every_image_once(ranks, commands):
    flags = ("--dataset", "celebamask_hq", *TINY, "--train_bs", "1", "--epochs", "2", "--val_bs", "2")
    commands.succeed("train.py", *flags, "--expt_name", "run", ranks=ranks)
    lines = commands.metrics("run")
    assert lines[-1]["iteration"] == 2 * (5 // ranks)
    assert lines[-1]["val"]["num_images"] == 3
    # What all ranks found together during training, one process finds again from the file.
    commands.succeed(
        "test.py", "--model_path", commands.folder("run") / "last.pt", "--split", "val", "--test_bs", "2",
        "--num_workers", "0", "--expt_name", "again",
    )  # fmt: skip
    again = commands.results("again", "val")
    assert {key: again[key] for key in lines[-1]["val"]} == lines[-1]["val"]


@pytest.mark.slow
def test_scores_are_the_same_to_the_last_bit_for_1_2_and_3_ranks(commands, tmp_path):
    torch.manual_seed(0)
    save_weights(create_segface("mobilenet", "segface_celeb", 64, "none"), tmp_path / "weights.pt")
    results = []
    for ranks in (0, 1, 2, 3):
        name = f"ranks{ranks}"
        commands.succeed(
            "test.py", "--model_path", tmp_path / "weights.pt", "--test_bs", "2", "--num_workers", "0",
            "--expt_name", name, ranks=ranks,
        )  # fmt: skip
        result = commands.results(name)
        assert result["num_images"] == 7
        result.pop("hardware")
        results.append(result)
    assert all(result == results[0] for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "3", "16"])
def test_every_image_counts_once_whatever_the_batch(batch, commands, tmp_path):
    segface = create_segface("mobilenet", "segface_helen", 64, "none")
    save_weights(segface, tmp_path / "weights.pt")
    printed = commands.succeed(
        "test.py", "--dataset", "helen", "--model_path", tmp_path / "weights.pt", "--test_bs", batch,
        "--num_workers", "0", "--expt_name", "run",
    )  # fmt: skip
    results = commands.results("run")
    pixels = 7 * 64 * 64
    assert results["num_images"] == 7
    assert results["pixel_accuracy"] * pixels == pytest.approx(round(results["pixel_accuracy"] * pixels))
    assert results["weights_sha256"] == hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    assert (results["dataset"], results["model"], results["resolution"]) == ("helen", "mobilenet", 64)
    assert {"python", "torch", "timm"} <= set(results["versions"])
    for words in ("eyes", "brows", "overall", "mean F1, without background", "mean IoU", "pixel accuracy"):
        assert words in printed


@pytest.mark.slow
def test_published_file_is_tested_with_the_published_flags(commands, tmp_path):
    save_weights(create_segface("mobilenet", "segface_celeb", 64, "none"), tmp_path / "model_299.pt", "published")
    commands.succeed(
        "test.py", "--ckpt_path", "ckpts", "--expt_name", "mobilenet_celeba_64", "--dataset", "celebamask_hq",
        "--backbone", "segface_celeb", "--model", "mobilenet", "--lr", "1e-4", "--input_resolution", "64",
        "--train_bs", "1", "--val_bs", "1", "--test_bs", "1", "--num_workers", "1", "--epochs", "300",
        "--model_path", tmp_path / "model_299.pt",
    )  # fmt: skip
    assert commands.results("mobilenet_celeba_64")["num_images"] == 7


@pytest.mark.slow
def test_training_learns_its_pictures(commands, tmp_path):
    # The whole road on drawn faces: from random weights to a mean F1 on the training pictures.
    data_path = tmp_path / "data"
    write_dataset("celebamask_hq", data_path, {"train": 24, "val": 1, "test": 1})
    commands.data_path = data_path
    commands.succeed(
        "train.py", "--dataset", "celebamask_hq", *TINY, "--train_bs", "4", "--epochs", "60", "--lr", "1e-3",
        "--lr_schedule", "25", "--val_interval", "60", "--expt_name", "run",
    )  # fmt: skip
    commands.succeed("test.py", "--expt_name", "run", "--split", "train", "--num_workers", "0", *TINY[:4])
    results = commands.results("run", "train")
    assert results["num_images"] == 24
    assert results["mean_f1"] > 0.8


def test_error_is_one_message_without_traceback(commands):
    assert "DATA_PATH is not set" in commands.fail("train.py", DATA_PATH="")


@pytest.mark.slow
def test_every_error_is_one_message_without_traceback(commands, tmp_path):
    assert "do not belong together" in commands.fail("train.py", "--dataset", "lapa", "--backbone", "segface_helen")
    assert "out of order" in commands.fail("train.py", "--lr_schedule", "200,80")
    assert f"{tmp_path}/nowhere" in commands.fail("train.py", *TINY, DATA_PATH=str(tmp_path / "nowhere"))
    error = commands.fail("train.py", "--dataset", "lapa", *TINY, "--train_bs", "9")
    assert "5 images, fewer than one batch of --train_bs 9" in error
    assert "lower --train_bs to 5" in error
    assert not commands.log_path.exists()
    (tmp_path / "file").write_text("")
    error = commands.fail("train.py", "--dataset", "lapa", *SHORT, LOG_PATH=str(tmp_path / "file"))
    assert "Set LOG_PATH to a folder of yours" in error
    assert "--device gpu is no device" in commands.fail("train.py", "--device", "gpu")
    assert "no weights in" in commands.fail("test.py", "--dataset", "lapa", "--expt_name", "nothing")
    assert "no weights at nothing.pt" in commands.fail("test.py", "--model_path", "nothing.pt")


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        ("train_celeb.sh", {"dataset": "celebamask_hq", "backbone": "segface_celeb", "train_bs": 4}),
        ("train_lapa.sh", {"dataset": "lapa", "backbone": "segface_lapa", "train_bs": 4}),
        ("train_helen.sh", {"dataset": "helen", "backbone": "segface_helen", "train_bs": 2}),
    ],
)
def test_train_script_passes_the_papers_settings(script, settings, tmp_path):
    words = launched_by(tmp_path, script, "convnext_base", "448", "--resume", GPUS="3")
    assert words[:4] == ["torchrun", "--standalone", "--nproc_per_node", "3"]
    args = complete(train_parser("").parse_args(words[words.index("train.py") + 1 :]))
    paper = {"lr": 1e-4, "lr_schedule": (80, 200), "lr_schedule_gamma": 0.1, "weight_decay": 1e-5, "epochs": 300}
    expected = {**settings, **paper, "model": "convnext_base", "input_resolution": 448, "seed": 32, "resume": True}
    assert {key: getattr(args, key) for key in expected} == expected


def test_test_script_takes_a_path_of_the_callers_folder(tmp_path):
    (tmp_path / "weights.pt").write_text("")
    words = launched_by(tmp_path, "test.sh", "weights.pt", "--split", "val")
    assert words == ["python", "test.py", "--model_path", str(tmp_path / "weights.pt"), "--split", "val"]


def launched_by(folder, script: str, *flags: str, **environment: str) -> list[str]:
    """The words of the command that a script of scripts/ starts."""
    for name in ("torchrun", "python"):
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        (folder / name).chmod(0o755)
    variables = {**os.environ, "CONDA_DEFAULT_ENV": "segface", "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    command = ["bash", str(REPOSITORY / "scripts" / script), *flags]
    printed = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout
    return printed.splitlines()


@pytest.mark.slow
def test_weights_of_another_head_are_refused_by_test(commands, tmp_path):
    save_weights(create_segface("mobilenet", "segface_lapa", 64, "none"), tmp_path / "lapa.pt")
    error = commands.fail("test.py", "--dataset", "celebamask_hq", "--model_path", tmp_path / "lapa.pt")
    assert "lapa.pt was trained with head segface_lapa; --dataset celebamask_hq needs segface_celeb" in error
    error = commands.fail("test.py", "--dataset", "helen", "--model_path", tmp_path / "lapa.pt")
    assert "lapa.pt was trained with head segface_lapa; --dataset helen needs segface_helen" in error
