"""Types of command-line arguments that the commands share."""

import argparse

from datasets.labels import canonical_name


def dataset_name(text: str) -> str:
    """A dataset's name in any usual spelling."""
    try:
        return canonical_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)
