"""Values that depend on the weights alone: computed once and kept, as long as the weights stay what they were."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


class Kept:
    """One such value, of a module in eval mode and without gradients; elsewhere it is computed anew each time.

    What it was computed from is compared at every use, so that no way of changing weights goes unnoticed: on a CPU by
    content, which is quick for the few small tensors it is meant for. On a GPU, where that would wait for the device,
    by PyTorch's counter of in-place changes, which misses one through ``.data``; ``model.eval()`` after it helps.
    """

    def __init__(self) -> None:
        self.content: tuple[Any, list[torch.Tensor], list[int], torch.Tensor] | None = None

    def get(
        self, module: nn.Module, compute: Callable[[], torch.Tensor], sources: Sequence[torch.Tensor], *settings: Any
    ) -> torch.Tensor:
        """The value of ``compute``, which rests on the tensors ``sources`` and on ``settings`` and nothing else."""
        if torch.compiler.is_compiling() or module.training or torch.is_grad_enabled() or not can_be_kept(sources):
            return compute()
        devices = {source.device.type for source in sources}
        settings += tuple(torch.get_autocast_dtype(d) if torch.is_autocast_enabled(d) else None for d in devices)
        content = self.content  # another thread may replace it
        if content is None or content[0] != settings or not unchanged(sources, *content[1:3]):
            copies = [s.clone() if s.device.type == "cpu" else s.detach() for s in sources]
            content = (settings, copies, [s._version for s in sources], compute())
            self.content = content
        return content[-1]

    def forget(self) -> None:
        self.content = None

    def __reduce__(self):  # a copy of a model computes its own
        return (Kept, ())


def can_be_kept(sources: Sequence[torch.Tensor]) -> bool:
    """Whether a change of these tensors can be seen."""
    return not (torch.jit.is_tracing() or any(source.is_inference() for source in sources))


def unchanged(sources: Sequence[torch.Tensor], copies: list[torch.Tensor], versions: list[int]) -> bool:
    return all(
        source.dtype == copy.dtype
        and source.device == copy.device
        and source.shape == copy.shape
        and (
            torch.equal(source, copy)
            if source.device.type == "cpu"
            else source.data_ptr() == copy.data_ptr() and source._version == version
        )
        for source, copy, version in zip(sources, copies, versions, strict=True)
    )


def forget(model: nn.Module) -> None:
    """Drop all that the modules of a model keep."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Kept):
                value.forget()
