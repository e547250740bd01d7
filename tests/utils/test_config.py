import argparse

import pytest

from datasets import LABELS
from utils import config
from utils.config import complete, load_environment
from utils.errors import SettingsError
from utils.flags import test_parser as parser_of_test
from utils.flags import train_parser

PUBLISHED_FLAGS = (
    "--ckpt_path ckpts --expt_name swin_base_lapa_448 --dataset lapa --backbone segface_lapa --model swin_base "
    "--lr 1e-4 --lr_schedule 80,200 --lr_schedule_gamma 0.1 --weight_decay 1e-5 --input_resolution 448 --train_bs 4 "
    "--val_bs 1 --test_bs 1 --epochs 300 --seed 32 --num_workers 4 --save_interval 1 --log_interval 50 --val_interval 1"
)


def parse(line: str, parser=train_parser) -> argparse.Namespace:
    return complete(parser("").parse_args(line.split()))


def refused(line: str, capsys) -> str:
    with pytest.raises(SystemExit):
        parse(line)
    return capsys.readouterr().err


def test_published_command_lines_are_understood():
    args = parse(PUBLISHED_FLAGS)
    assert (args.backbone, args.model, args.input_resolution, args.lr_schedule) == (
        "segface_lapa", "swin_base", 448, (80, 200),
    )  # fmt: skip
    args = parse(f"{PUBLISHED_FLAGS} --model_path logs/model_299.pt", parser_of_test)
    assert args.model_path == "logs/model_299.pt"


def test_defaults_are_the_papers_and_accepted():
    args = parse("")
    paper = {
        "dataset": "celebamask_hq", "backbone": "segface_celeb", "model": "swin_base", "input_resolution": 512,
        "lr": 1e-4, "lr_schedule": (80, 200), "lr_schedule_gamma": 0.1, "weight_decay": 1e-5, "train_bs": 4,
        "epochs": 300, "seed": 32, "resume": False, "pretrained": "torchvision",
    }  # fmt: skip
    assert {key: getattr(args, key) for key in paper} == paper


@pytest.mark.parametrize("dataset", LABELS)
def test_head_follows_from_the_dataset(dataset):
    assert parse(f"--dataset {dataset}").backbone == LABELS[dataset].head


@pytest.mark.parametrize(
    ("flags", "value"), [("", False), ("--resume", True), ("--resume True", True), ("--resume False", False)]
)
def test_resume_means_what_it_says(flags, value):
    assert parse(flags).resume is value


def test_helen_trains_with_the_papers_batch_of_two():
    assert parse("--dataset helen").train_bs == 2
    assert parse("--dataset helen --train_bs 8").train_bs == 8


def test_dataset_follows_from_the_head():
    assert parse("--backbone segface_lapa").dataset == "lapa"


def test_timm_models_start_from_timm_by_default():
    args = parse("--model timm/resnet18")
    assert args.pretrained == "timm"
    assert args.expt_name == "timm_resnet18_celebamask_hq_512"


def test_head_and_dataset_must_belong_together():
    with pytest.raises(SettingsError, match=r"segface_celeb and --dataset lapa do not belong together.*segface_lapa"):
        parse("--dataset lapa --backbone segface_celeb")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lr_schedule 200,80", "out of order"),
        ("--lr_schedule 80,80", "out of order"),
        ("--lr_schedule 80,many", "no list of epochs"),
        ("--input_resolution 500", "500 is no multiple of 32"),
        ("--model vgg16", "unknown model 'vgg16'; choose swin_base"),
        ("--dataset ibug", "unknown dataset 'ibug'"),
        ("--backbone segface", "invalid choice"),
        ("--resume maybe", "neither True nor False"),
        ("--train_bs 0", "not at least 1"),
        ("--seed -5", "not at least 0"),
        ("--lr nan", "no finite number"),
        ("--lr -1", "no finite number"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(flags, message, capsys):
    assert message in refused(flags, capsys)


def test_data_path_unset_shows_the_example(monkeypatch, tmp_path):
    monkeypatch.delenv("DATA_PATH", raising=False)
    monkeypatch.delenv("LOG_PATH", raising=False)
    (tmp_path / ".env.example").write_text("DATA_PATH=/the/example\n")
    monkeypatch.setattr(config, "REPOSITORY", tmp_path)
    environment = load_environment()
    assert str(environment.log_path) == "logs"
    with pytest.raises(SettingsError, match=r"DATA_PATH is not set(.|\n)*DATA_PATH=/the/example"):
        environment.dataset_root("lapa")


def test_environment_wins_over_the_env_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("DATA_PATH=/from/file\nLOG_PATH=./logs\n")
    monkeypatch.setattr(config, "REPOSITORY", tmp_path)
    monkeypatch.setenv("DATA_PATH", "/from/environment")
    monkeypatch.delenv("LOG_PATH", raising=False)
    environment = load_environment()
    assert str(environment.data_path) == "/from/environment"
    monkeypatch.setenv("DATA_PATH", "")
    assert str(load_environment().data_path) == "/from/file"
    assert environment.log_path == tmp_path / "logs"  # relative to the file
