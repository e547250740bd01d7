"""Measure speed on this machine: the model beside a plain one, reading of data, the metric, and the model's parts.

python -m scripts.benchmark forward --model mobilenet swin_base --batch 1 8
python -m scripts.benchmark training --model mobilenet --batch 2
python -m scripts.benchmark forward --device cuda --amp bf16 --compile --batch 1 32
python -m scripts.benchmark reading --dataset celebamask_hq --root data/CelebAMask-HQ --input_resolution 512
python -m scripts.benchmark evaluation --root data/CelebAMask-HQ --model mobilenet
python -m scripts.benchmark metric
python -m scripts.benchmark parts --model mobilenet
python -m scripts.benchmark onnx --model mobilenet

What is compared takes turns in one process, so that a change of the machine's speed meets all of it; ratios are of
each round. Weights are random, biases are not zero, and denormal numbers are flushed to zero.
"""

import argparse
import json
from pathlib import Path

import torch

from datasets.arguments import dataset_name
from network import BACKBONES
from scripts.benchmarks import evaluation, exported, metric, model, parts, reading
from scripts.benchmarks.timing import machine
from utils import cli
from utils.flags import not_negative, positive, resolution
from utils.precision import AMP_TYPES


def command_line() -> argparse.ArgumentParser:
    """The command line: a subcommand for each thing that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="subject")

    for name, batches, help_text in (("forward", [1, 8], "inference"), ("training", [2], "a training step")):
        command = commands.add_parser(name, help=f"{help_text} of the model beside the plain one")
        command.set_defaults(measure=model.measure)
        add = command.add_argument
        of_model(command, several=True)
        add("--batch", type=positive, nargs="+", default=batches, help=f"images at once ({batches})")
        add("--repeat", type=positive, default=7, help="rounds (7)")
        add("--amp", choices=AMP_TYPES, default="off", help="mixed precision of ours (off)")
        add("--compile", action="store_true", help="torch.compile for ours")
        add("--channels_last", action="store_true", help="weights and images of ours in that layout")
        add("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure the peak memory, too")

    command = commands.add_parser("onnx", help="the exported model by onnxruntime beside PyTorch")
    command.set_defaults(measure=exported.measure)
    of_model(command, several=False)
    add = command.add_argument
    add("--weights", help="a checkpoint (default: random weights of --model)")
    add("--batch", type=positive, default=1, help="images at once (1)")
    add("--repeat", type=positive, default=7, help="rounds (7)")

    command = commands.add_parser("parts", help="arithmetic and memory traffic of the model's parts")
    command.set_defaults(measure=parts.measure)
    of_model(command, several=False)
    command.add_argument("--repeat", type=positive, default=7, help="rounds (7)")

    command = commands.add_parser("evaluation", help="test.py's way from files to scores beside the model alone")
    command.set_defaults(measure=evaluation.measure)
    of_model(command, several=False)
    add = command.add_argument
    of_dataset(command)
    add("--batch", type=positive, default=8, help="images at once (8)")
    add("--num_workers", type=not_negative, default=1, help="processes that read ahead (1)")
    add("--repeat", type=positive, default=5, help="rounds (5)")

    command = commands.add_parser("metric", help="counting of pairs of classes beside NumPy's bincount")
    command.set_defaults(measure=metric.measure)
    command.add_argument("--resolution", type=resolution, default=512, help="side of the label maps in pixels (512)")
    command.add_argument("--batch", type=positive, nargs="+", default=[1, 8], help="label maps at once (1 8)")
    command.add_argument("--repeat", type=positive, default=31, help="rounds (31)")

    command = commands.add_parser("reading", help="samples per second of a dataset's reader")
    command.set_defaults(measure=reading.measure, device=torch.device("cpu"), threads=1)
    add = command.add_argument
    of_dataset(command)
    add("--split", choices=("train", "val", "test"), default="train", help="augmented as in training (default: train)")
    add("--input_resolution", type=positive, default=512, help="side of the samples in pixels (512)")
    add("--samples", type=positive, default=40, help="samples of a turn, at least; a smaller split is read again (40)")
    add("--seconds", type=float, default=0.5, help="seconds of a turn, at least (0.5)")
    add("--repeat", type=positive, default=7, help="rounds (7)")

    for name, command in commands.choices.items():
        if name != "reading":
            add = command.add_argument
            add("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda (cpu)")
            add("--threads", type=positive, default=torch.get_num_threads(), help="on a CPU (all cores)")
        command.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def of_model(command: argparse.ArgumentParser, several: bool) -> None:
    """Which model, and how large its images."""
    command.add_argument(
        "--model",
        choices=BACKBONES,
        nargs="+" if several else None,
        default=list(BACKBONES) if several else "mobilenet",
        help=f"encoder ({'all' if several else 'mobilenet'})",
    )
    command.add_argument("--resolution", type=resolution, default=512, help="side of the images in pixels (512)")


def of_dataset(command: argparse.ArgumentParser) -> None:
    """Which dataset, and where."""
    add = command.add_argument
    add("--dataset", type=dataset_name, default="celebamask_hq", help="the dataset (default: celebamask_hq)")
    add("--root", type=Path, required=True, help="the dataset's own folder")


def main() -> None:
    args = command_line().parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    circumstances = machine(args.device)
    print(", ".join(f"{name} {value}" for name, value in circumstances.items()))
    result = args.measure(args)
    if args.json:
        args.json.write_text(json.dumps({"machine": circumstances, **result}, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main)
