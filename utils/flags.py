"""The command lines of train.py and test.py."""

import argparse
import os

from datasets import LABELS
from datasets.arguments import dataset_name
from network import BACKBONES, HEADS, ModelError
from network.backbones import check_model_name
from utils.arguments import not_negative, positive, resolution, share
from utils.precision import AMP_TYPES


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


def finite(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no finite number from 0 on")
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

    run.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="on a GPU, compute float32 products with TF32 (default: as PyTorch and the paper, in convolutions alone)",
    )

    model = parser.add_argument_group("model and data")
    model.add_argument("--dataset", type=dataset_name, help=f"{', '.join(LABELS)} (default: celebamask_hq)")
    model.add_argument("--backbone", choices=HEADS, help="the head; it must fit the dataset (default: the dataset's)")
    model.add_argument(
        "--model", type=model_name, help=f"the encoder: {', '.join(BACKBONES)}, or timm/NAME (default: swin_base)"
    )
    model.add_argument("--input_resolution", type=resolution, help="side of the images in pixels (default: 512)")
    model.add_argument(
        "--cache_dir",
        help="folder of composed CelebAMask-HQ label maps, which are slow to compose; none: compose them each time "
        "(default: LOG_PATH/cache)",
    )
    model.add_argument(
        "--cache_images",
        action="store_true",
        help="keep whole samples that are not augmented there too, 1 MB each at 512 pixels",
    )


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
        help="go on from last.pt, where it was written",
    )
    add(
        "--pretrained",
        default=None,
        help="start of the encoder: torchvision (ImageNet, the paper's; the default), timm (the default for "
        "timm/NAME), none, or the path of a state dict",
    )


def add_survival_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of what is saved when, and of what may go wrong."""
    add = parser.add_argument_group("coming through").add_argument
    add(
        "--checkpoint_minutes",
        type=finite,
        default=15,
        help="minutes from one last.pt to the next, beside those at the end of every epoch (15)",
    )
    add(
        "--max_bad_steps",
        type=positive,
        default=10,
        help="steps in a row with a loss that is not finite, and so not applied, after which to stop (10)",
    )


def add_scale_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of speed, memory and large batches; the defaults are the paper's: none of them."""
    add = parser.add_argument_group("scale").add_argument
    add("--amp", choices=AMP_TYPES, default="off", help="mixed precision of the training steps (default: off)")
    add("--compile", action="store_true", help="compile the training step with torch.compile")
    add("--channels_last", action="store_true", help="lay images and weights out with the channels last")
    add("--grad_accum", type=positive, default=1, help="batches in an optimizer step, per rank (1)")
    add("--grad_clip", type=finite, default=0.0, help="largest norm of a gradient; 0 for any (0)")
    add("--sync_bn", action="store_true", help="BatchNorm over the batches of all ranks; needs GPUs")
    add("--ema", type=share, metavar="DECAY", help="also keep averaged weights, decaying by this factor in each step")


def add_watching_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of what is shown of a run."""
    add = parser.add_argument_group("watching").add_argument
    add(
        "--wandb",
        choices=("disabled", "offline", "online"),
        default="disabled",
        help="log to Weights & Biases too (default: disabled)",
    )
    add("--samples", type=not_negative, default=8, help="pictures in gallery.png at each validation; 0 for none (8)")
    add("--profile", action="store_true", help="write a trace of a few steps, trace.json, for a trace viewer")


def train_parser(description: str) -> argparse.ArgumentParser:
    """The command line of train.py."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared_flags(parser)
    add_training_flags(parser, "training")
    add_scale_flags(parser)
    add_survival_flags(parser)
    add_watching_flags(parser)
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
        "--amp", choices=AMP_TYPES, default="off", help="mixed precision of the forward pass (default: off)"
    )
    testing.add_argument(
        "--samples", type=not_negative, default=8, help="pictures in samples/gallery.png; 0 for none (8)"
    )
    add_training_flags(parser, "training (accepted, as in the published scripts, and unused here)")
    return parser
