"""What can be wrong with the model or the weights that a user asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class ModelError(ValueError):
    """A name, a setting or a file that no model can be built from; the message says which and what to do."""


class WeightsError(ModelError):
    """A file of weights is unreadable, unsafe or of another model; the message says which and what to do."""


def summary(names: Collection[str], most: int = 8) -> str:
    """The first of some names, and how many there are."""
    shown = ", ".join(map(str, list(names)[:most]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > most else "")


def misfit(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], optional: tuple[str, ...]) -> str:
    """Which tensors are missing, surplus or misshapen, a line each; empty if a state dict fits.

    Names that end in one of ``optional`` may be there or not.
    """
    problems = {
        "missing": [key for key in expected if key not in state and not key.endswith(optional)],
        "surplus": [key for key in state if key not in expected and not key.endswith(optional)],
        "misshapen": [
            f"{key} {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
            for key in expected
            if key in state and state[key].shape != expected[key].shape
        ],
    }
    return "\n".join(f"  {len(keys)} {kind}: {summary(keys)}" for kind, keys in problems.items() if keys)
