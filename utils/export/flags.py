"""The command line of export.py."""

import argparse
from pathlib import Path

from utils.inference.flags import add_weights_flags


def export_parser(description: str) -> argparse.ArgumentParser:
    """The command line of export.py."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights_flags(parser)
    add = parser.add_argument_group("file").add_argument
    add("--output", type=Path, default=Path("segface.onnx"), help="file to write (default: segface.onnx)")
    add("--overwrite", action="store_true", help="write over a file that is there")
    add(
        "--input_type",
        choices=("uint8", "float32"),
        default="uint8",
        help="pixels of the input, RGB: uint8 from 0 to 255, or float32 from 0 to 1 (default: uint8)",
    )
    add(
        "--output_type",
        choices=("logits", "labels"),
        default="logits",
        help="logits, float32 (B, K, R, R), or the class of each pixel, uint8 (B, R, R) (default: logits)",
    )
    add("--int8", action="store_true", help="compute with 8 bits, for the convolutional encoders")
    add("--calibration", nargs="+", metavar="PATH", help="pictures or folders of what the model will see, for --int8")
    return parser
