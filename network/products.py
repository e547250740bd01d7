"""Matrix products of the model, each by the library that is fastest at it.

On a CPU in float32 that is oneDNN: it takes the widest instructions whatever the make of the processor, where the
library of PyTorch's ordinary wheels takes half of them on one that is not Intel's (`python -m scripts.benchmark parts`
shows both rates), and it computes an activation in the same pass. Everywhere else PyTorch chooses.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"none": lambda x: x, "gelu": F.gelu}
NOT_APPROXIMATED = {"none": "", "gelu": "none"}  # oneDNN's name of GELU as it is


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """``activation(x @ weight.T + bias)``, or with a ``residual`` instead of an activation their sum.

    ``x`` is (..., in), ``weight`` (out, in), ``bias`` (out,), ``residual`` (..., out), ``activation`` a key of
    ACTIVATIONS. A batch of x (B, N, in) may have a weight (B, out, in) for each of its members, and so may the bias.
    """
    if is_for_onednn(x):
        return by_onednn(x, weight, bias, activation, residual)
    if weight.ndim == 2:
        y = F.linear(x, weight, bias)
    else:
        y = x @ weight.mT if bias is None else torch.baddbmm(bias.expand(x.shape[0], -1)[:, None], x, weight.mT)
    return ACTIVATIONS[activation](y) if residual is None else y + residual


def is_for_onednn(x: torch.Tensor) -> bool:
    """Whether oneDNN computes the products with ``x``. ``torch.backends.mkldnn.flags(enabled=False)`` forbids it."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # a compiler chooses for itself
        return False
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not torch.is_autocast_enabled("cpu")
    )


def may_fuse(module: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether a module may put operations on ``x`` together that oneDNN computes in one pass, without gradients."""
    return not module.training and not torch.is_grad_enabled() and is_for_onednn(x)


def by_onednn(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: str, residual: torch.Tensor | None
) -> torch.Tensor:
    if weight.ndim == 3:
        biases = [None] * len(x) if bias is None else bias.expand(len(x), -1)
        residuals = [None] * len(x) if residual is None else residual
        each = [by_onednn(*one, activation, r) for *one, r in zip(x, weight, biases, residuals, strict=True)]
        return torch.stack(each) if len(each) > 1 else each[0][None]
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        y = ACTIVATIONS[activation](Product.apply(rows, weight, bias)).view(*x.shape[:-1], -1)
        return y if residual is None else y + residual
    y = product(rows, weight, bias, activation).view(*x.shape[:-1], -1)
    return y if residual is None else y.add_(residual)


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], NOT_APPROXIMATED[activation])


class Product(torch.autograd.Function):
    """``x @ weight.T + bias`` of matrices by oneDNN, with gradients."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.T) if of_x else None,
            product(gradient.T, x.T) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
