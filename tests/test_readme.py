"""What the README says, checked against the code."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from drawn import draw_face
from PIL import Image
from rebuilt import rebuilt_weights, released

from datasets import LABELS, check, synthetic
from datasets.label_orders import ORDERS
from network import BACKBONES, PUBLISHED
from scripts import benchmark
from utils.config import complete
from utils.export.flags import export_parser
from utils.flags import test_parser as parser_of_test
from utils.flags import train_parser
from utils.inference.flags import predict_parser

OTHERS = {"predict.py": predict_parser, "export.py": export_parser}
TAKES_SETTINGS = {"train.py": train_parser, "test.py": parser_of_test, "scripts/slurm.sh": train_parser}
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_table_of_published_checkpoints():
    for name, published in PUBLISHED.items():
        f1 = "not reported" if published.mean_f1 is None else f"{published.mean_f1:.2f}"
        title = LABELS[published.dataset].title
        assert f"| `{name}` | {title} | {published.model} | {published.resolution} | {f1} |" in README


def test_table_of_encoders():
    for name, backbone in BACKBONES.items():
        assert f"| `{name}` | {backbone.timm} | {backbone.torchvision} |" in README


def test_every_flag_that_is_named_exists():
    known = {
        flag
        for parser in (train_parser, parser_of_test, *OTHERS.values())
        for flag in parser("")._option_string_actions
    }
    tools = (synthetic, check, benchmark)
    known |= {flag for tool in tools for flag in tool.command_line()._option_string_actions}
    named = set(re.findall(r"`(--[\w-]+)", README))
    torchrun = {"--max_restarts", "--nnodes", "--rdzv_backend", "--rdzv_endpoint", "--rdzv_id"}
    assert named - known - torchrun - {"--quick"} == set()


def test_table_of_datasets():
    for name, labels in LABELS.items():
        val = "as test" if name == "helen" else f"{labels.sizes['val']:,}"
        sizes = f"{labels.sizes['train']:,} | {val} | {labels.sizes['test']:,}"
        assert f"| {labels.title} | {labels.num_classes} | {sizes} | `{name}` | `{labels.head}` |" in README


def test_table_of_classes():
    for labels in LABELS.values():
        row = next(line for line in README.splitlines() if line.startswith(f"| {labels.title} | {labels.names[0]}"))
        words = re.sub(r" \([^)]*\)", "", row).strip(" |").partition(" | ")[2]
        assert words.split(", ") == list(labels.names)


def test_every_command_is_understood():
    understood = 0
    for block in code_blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for script, parser in TAKES_SETTINGS.items():
                if script in words:
                    complete(parser("").parse_args(words[words.index(script) + 1 :]))
                    understood += 1
            for script, parser in OTHERS.items():
                if script in words:
                    parser("").parse_args(words[words.index(script) + 1 :])
                    understood += 1
            for module in (synthetic, check, benchmark):
                if module.__name__ in words:
                    module.command_line().parse_args(words[words.index(module.__name__) + 1 :])
                    understood += 1
    assert understood >= 10


def test_every_file_that_is_named_or_pictured_exists():
    scripts = set(re.findall(r"scripts/\w+\.sh", README))
    linked = {target for target in re.findall(r"\]\(([^)#]+)\)", README) if not target.startswith("https://")}
    assert scripts >= {"scripts/demo.sh"}
    assert linked >= {"docs/demo.png"}
    for name in scripts | linked:
        assert (ROOT / name).is_file(), name


@pytest.fixture
def published_file(tmp_path, monkeypatch):
    """What the Hub would give, and a face, in the working folder."""
    weights = rebuilt_weights(released()["tensors"]["mobilenet/segface_celeb"])
    torch.save({"state_dict_backbone": weights}, tmp_path / "model_299.pt")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: tmp_path / "model_299.pt")
    monkeypatch.chdir(tmp_path)
    draw_face("celebamask_hq", 300, seed=0)[0].save("face.jpg")


def test_python_example_of_the_parser_runs(published_file, capsys):
    names: dict = {}
    exec(compile(code_blocks("python")[0], "README.md", "exec"), names)
    assert "(300, 300) ('background'" in capsys.readouterr().out
    assert names["overlay"].shape[0] >= 300
    mask = Image.open("face_labels.png")
    assert (mask.mode, mask.size) == ("P", (300, 300))


def test_python_example_of_the_network_runs(published_file, capsys):
    exec(compile(code_blocks("python")[1], "README.md", "exec"), {})
    counts = eval(capsys.readouterr().out)
    mask = Image.open("face_labels.png")
    assert (mask.mode, mask.size) == ("P", (512, 512))
    assert list(counts) == list(LABELS["celebamask_hq"].names)
    assert sum(counts.values()) == 512 * 512


def test_table_of_label_orders():
    assert f"| value | {' | '.join(f'`{order}`' for order in ORDERS)} |" in README
    for value in range(19):
        assert f"| {value} | {' | '.join(names[value] for names in ORDERS.values())} |" in README
