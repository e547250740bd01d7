"""Types of arguments on command lines. Needs no PyTorch."""

import argparse


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


def share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def resolution(text: str) -> int:
    from network.segface import COARSEST_STRIDE  # only where a resolution is given, as it brings PyTorch

    number = positive(text)
    if number % COARSEST_STRIDE:
        raise argparse.ArgumentTypeError(f"{text} is no multiple of {COARSEST_STRIDE}; published: 224, 256, 448, 512")
    return number
