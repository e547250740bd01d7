"""Command lines of train.py and test.py, settings from the environment, and checks before anything is loaded."""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from datasets import LABELS
from datasets.labels import canonical_name, dataset_root
from network import BACKBONES, HEADS, ModelError
from network.backbones import TIMM_PREFIX, check_model_name
from network.segface import COARSEST_STRIDE

REPOSITORY = Path(__file__).resolve().parents[1]


class SettingsError(Exception):
    """A flag or a setting that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Environment:
    """Where data lies and where logs go, from the environment or ``.env``."""

    data_path: Path | None
    log_path: Path

    def dataset_root(self, dataset: str) -> Path:
        """A dataset's folder under DATA_PATH. Raises SettingsError where DATA_PATH is not set."""
        if self.data_path is None:
            example = (REPOSITORY / ".env.example").read_text().strip()
            raise SettingsError(
                "DATA_PATH is not set; it holds the dataset folders. Set it in the environment, or copy .env.example "
                f"to .env and fill it in:\n\n{example}"
            )
        return dataset_root(self.data_path, dataset)


def load_environment() -> Environment:
    """Read DATA_PATH and LOG_PATH; the environment wins over the ``.env`` beside train.py."""
    values = {key: value for key, value in os.environ.items() if value}
    if (REPOSITORY / ".env").is_file():
        try:
            from dotenv import dotenv_values
        except ImportError as error:
            raise SettingsError(
                f"{REPOSITORY / '.env'} needs the package python-dotenv (pip install python-dotenv); or set DATA_PATH "
                "and LOG_PATH in the environment and remove the file"
            ) from error
        for key, value in dotenv_values(REPOSITORY / ".env").items():
            if key in ("DATA_PATH", "LOG_PATH") and value:  # a relative path in the file starts at the file
                values.setdefault(key, str(REPOSITORY / Path(value).expanduser()))
    data_path = values.get("DATA_PATH")
    return Environment(
        data_path=Path(data_path).expanduser() if data_path else None,
        log_path=Path(values.get("LOG_PATH") or "logs").expanduser(),
    )


def prepare_folder(folder: Path) -> None:
    """Make the folder of a run, and see before any work that it can be written to. Raises SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error.strerror}. Set LOG_PATH to a folder of yours") from error


def dataset_name(text: str) -> str:
    try:
        return canonical_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def model_name(text: str) -> str:
    try:
        check_model_name(text)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def epochs_of_schedule(text: str) -> tuple[int, ...]:
    try:
        epochs = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of epochs such as 80,200") from error
    if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
        raise argparse.ArgumentTypeError(f"epochs {text!r} are out of order; expected rising numbers such as 80,200")
    return epochs


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0")
    return number


def finite(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no finite number from 0 on")
    return number


def resolution(text: str) -> int:
    number = positive(text)
    if number % COARSEST_STRIDE:
        raise argparse.ArgumentTypeError(f"{text} is no multiple of {COARSEST_STRIDE}; published: 224, 256, 448, 512")
    return number


def true_or_false(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def add_shared_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that training and testing have in common, as published."""
    run = parser.add_argument_group("run")
    run.add_argument("--ckpt_path", default="ckpts", help="folder of the runs, under LOG_PATH (default: ckpts)")
    run.add_argument("--expt_name", help="folder of this run, under ckpt_path (default: MODEL_DATASET_RESOLUTION)")
    run.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)"
    )
    run.add_argument(
        "--num_workers",
        type=not_negative,
        default=min(4, os.cpu_count() or 1),
        help="processes that read images, per rank (4, or the number of cores if there are fewer)",
    )
    run.add_argument(
        "--deterministic",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a GPU, use algorithms that give the same result in every run (default: on)",
    )

    model = parser.add_argument_group("model and data")
    model.add_argument("--dataset", type=dataset_name, help=f"{', '.join(LABELS)} (default: celebamask_hq)")
    model.add_argument("--backbone", choices=HEADS, help="the head; it must fit the dataset (default: the dataset's)")
    model.add_argument(
        "--model", type=model_name, help=f"the encoder: {', '.join(BACKBONES)}, or timm/NAME (default: swin_base)"
    )
    model.add_argument("--input_resolution", type=resolution, help="side of the images in pixels (default: 512)")


def add_training_flags(parser: argparse.ArgumentParser, title: str) -> None:
    """Flags of training, with the paper's values as defaults."""
    training = parser.add_argument_group(title)
    add = training.add_argument
    add("--lr", type=finite, default=1e-4, help="learning rate of AdamW (paper: 1e-4)")
    add(
        "--lr_schedule",
        type=epochs_of_schedule,
        default=(80, 200),
        help="epochs after which the learning rate falls, rising and separated by commas (paper: 80,200)",
    )
    add("--lr_schedule_gamma", type=finite, default=0.1, help="factor of each fall (paper: 0.1)")
    add("--weight_decay", type=finite, default=1e-5, help="weight decay of AdamW, on all parameters (paper: 1e-5)")
    add("--train_bs", type=positive, help="training images in a batch, per rank (paper: 4 on each of 8; Helen: 2)")
    add("--val_bs", type=positive, default=4, help="validation images in a batch, per rank (4)")
    add("--epochs", type=not_negative, default=300, help="passes over the training split (paper: 300)")
    add("--seed", type=not_negative, default=32, help="seed of weights, order and augmentation (paper: 32)")
    add("--save_interval", type=positive, default=50, help="epochs from one model_{epoch}.pt to the next (50)")
    add("--log_interval", type=positive, default=50, help="steps from one line of train.log to the next (50)")
    add("--val_interval", type=positive, default=1, help="epochs from one validation to the next (1)")
    # The published scripts pass "--resume True" or "--resume False" as well as the bare flag.
    add(
        "--resume",
        type=true_or_false,
        nargs="?",
        const=True,
        default=False,
        metavar="True|False",
        help="go on from last.pt at its next epoch",
    )
    add(
        "--pretrained",
        default=None,
        help="start of the encoder: torchvision (ImageNet, the paper's; the default), timm (the default for "
        "timm/NAME), none, or the path of a state dict",
    )


def train_parser(description: str) -> argparse.ArgumentParser:
    """The command line of train.py."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared_flags(parser)
    add_training_flags(parser, "training")
    parser.add_argument("--test_bs", type=positive, default=4, help="unused here; accepted as the published scripts do")
    return parser


def test_parser(description: str) -> argparse.ArgumentParser:
    """The command line of test.py."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared_flags(parser)
    testing = parser.add_argument_group("testing")
    testing.add_argument(
        "--model_path",
        help="weights to test: a checkpoint, a published file, or a published name such as mobilenet_celeba_512, "
        "fetched from the Hub (default: best.pt, or the latest model_*.pt, of the run)",
    )
    testing.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="split to test, not augmented (default: test)"
    )
    testing.add_argument("--test_bs", type=positive, default=4, help="images in a batch, per rank (4)")
    testing.add_argument(
        "--samples", type=not_negative, default=8, help="pictures in samples/gallery.png; 0 for none (8)"
    )
    add_training_flags(parser, "training (accepted, as in the published scripts, and unused here)")
    return parser


PAPER = {"dataset": "celebamask_hq", "model": "swin_base", "input_resolution": 512}
PAPER_BATCH = {"celebamask_hq": 4, "lapa": 4, "helen": 2}


def complete(args: argparse.Namespace, **known: str | int) -> argparse.Namespace:
    """Fill in what the command line left out, from what is ``known`` of the weights and then from the paper.

    Raises SettingsError where head and dataset do not belong together.
    """
    if args.dataset is None and args.backbone is not None:
        args.dataset = next(name for name, labels in LABELS.items() if labels.head == args.backbone)
    for key, value in {**PAPER, **known}.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    labels = LABELS[args.dataset]
    args.backbone = args.backbone or labels.head
    if args.backbone != labels.head:
        fitting = [name for name, other in LABELS.items() if other.head == args.backbone]
        raise SettingsError(
            f"--backbone {args.backbone} and --dataset {args.dataset} do not belong together: {labels.title} trains "
            f"{labels.head}, and {args.backbone} is for {', '.join(fitting)}"
        )
    if args.train_bs is None:
        args.train_bs = PAPER_BATCH[args.dataset]
    if args.pretrained is None:
        args.pretrained = "timm" if args.model.startswith(TIMM_PREFIX) else "torchvision"
    if args.expt_name is None:
        args.expt_name = f"{args.model.replace('/', '_')}_{args.dataset}_{args.input_resolution}"
    return args
