"""The command line of predict.py. Needs no PyTorch."""

import argparse
import os
from pathlib import Path

from datasets import LABELS
from datasets.arguments import dataset_name
from datasets.label_orders import ORDERS
from utils.arguments import positive, resolution, share
from utils.inference.detection import MIN_SCORE

DEFAULT_WEIGHTS = "mobilenet_celeba_512"


def class_names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def score(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def add_weights_flags(parser: argparse.ArgumentParser) -> None:
    """Which model; what the weights say of themselves need not be said."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        help="a published name (README, 'Published checkpoints'), which is fetched from the Hub, a checkpoint, a "
        f"published file, or an ONNX file of export.py (default: {DEFAULT_WEIGHTS})",
    )
    model.add_argument("--model", help="the encoder, where the weights do not say it")
    model.add_argument("--dataset", type=dataset_name, help=f"{', '.join(LABELS)}, where the weights do not say it")
    model.add_argument(
        "--input_resolution", type=resolution, help="side of what the model sees, in pixels (default: the weights')"
    )


def predict_parser(description: str) -> argparse.ArgumentParser:
    """The command line of predict.py."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="pictures, folders of pictures, globs, videos, or the number of a camera",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_weights_flags(parser)
    add_output_flags(parser)
    add_face_flags(parser)

    video = parser.add_argument_group("videos")
    video.add_argument("--smooth", type=share, metavar="S", help="share of the frames before in the logits, 0 to 1")
    video.add_argument("--show", action="store_true", help="show the frames in a window; q closes it")
    video.add_argument("--frames", action="store_true", help="also write what pictures get, for every frame")

    run = parser.add_argument_group("run")
    run.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)"
    )
    run.add_argument("--amp", choices=("off", "bf16", "fp16"), default="off", help="mixed precision (default: off)")
    run.add_argument("--batch_size", type=positive, default=8, help="pictures, or faces, at once (8)")
    run.add_argument(
        "--threads",
        type=positive,
        default=min(4, os.cpu_count() or 1),
        help="threads that read, and as many that write (4, or the number of cores if there are fewer)",
    )
    return parser


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """What is written."""
    add = parser.add_argument_group("results").add_argument
    add("--classes", type=class_names, default=(), help="also write masks of these classes, such as hair,l_eye")
    add("--json", action="store_true", help="also write share, box and centroid of each class, and the faces")
    add("--probs", action="store_true", help="also write the probabilities, float16 (K, H, W), as .npz")
    add(
        "--label_order",
        choices=ORDERS,
        help="order of the 19 classes of CelebAMask-HQ in label maps and probabilities (default: segface)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="write over results that are there")
    existing.add_argument(
        "--skip_existing", action="store_true", help="leave results that are there, and make those that are missing"
    )


def add_face_flags(parser: argparse.ArgumentParser) -> None:
    """Faces in the wild."""
    add = parser.add_argument_group("faces").add_argument
    add("--detect", action="store_true", help="find the faces, and parse each in an aligned crop (README, 'Faces')")
    add("--detector", metavar="PATH", help="YuNet's ONNX file for --detect (default: fetched from the Hub)")
    add("--min_score", type=score, default=MIN_SCORE, help=f"lowest score of a face, 0 to 1 ({MIN_SCORE})")
    add(
        "--landmarks",
        metavar="FILE",
        help="JSON of five points of each picture's face, for LaPa models; with --detect, of the faces to parse",
    )
