import pytest
import torch
import torch.nn.functional as F

from network import products
from network.products import is_for_onednn, linear

SHAPES = [((3, 24), (16, 24)), ((2, 5, 24), (16, 24)), ((2, 3, 4, 24), (16, 24)), ((3, 5, 24), (3, 16, 24))]


def random(*shapes, dtype=torch.float32, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_(requires_grad) for shape in shapes]


def expected(x, weight, bias, activation, residual):
    y = x @ weight.mT + (bias if bias.ndim == 1 else bias[:, None])
    return F.gelu(y) if activation == "gelu" else y if residual is None else y + residual


@pytest.fixture(params=["onednn", "pytorch"])
def library(request, monkeypatch):
    if request.param == "pytorch":
        monkeypatch.setattr(products, "is_for_onednn", lambda _: False)
    else:
        assert is_for_onednn(torch.zeros(1))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("extra", ["nothing", "gelu", "residual"])
@pytest.mark.parametrize(("of_x", "of_weight"), SHAPES)
def test_product_and_its_gradients(of_x, of_weight, extra, grad, library):
    of_y = (*of_x[:-1], of_weight[-2])
    of_biases = [of_weight[-2:-1]] + ([(of_weight[0], of_weight[1])] if len(of_weight) == 3 else [])
    activation = "gelu" if extra == "gelu" else "none"
    for of_bias in of_biases:
        tensors = random(of_x, of_weight, of_bias, of_y, requires_grad=grad)
        residual = tensors[3] if extra == "residual" else None
        with torch.set_grad_enabled(grad):
            y = linear(*tensors[:3], activation=activation, residual=residual)
            right = expected(*tensors[:3], activation, residual)
        torch.testing.assert_close(y, right, rtol=1e-5, atol=1e-5)
        if grad:
            (target,) = random(of_y)
            used = [*tensors[:3], *([] if residual is None else [residual])]
            gradients = torch.autograd.grad(y, used, target)
            for mine, theirs in zip(gradients, torch.autograd.grad(right, used, target), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_inputs_stay_as_they_are():
    tensors = random((4, 24), (16, 24), (16,), (4, 16))
    copies = [tensor.clone() for tensor in tensors]
    with torch.no_grad():
        linear(*tensors[:3], residual=tensors[3])
    assert all(map(torch.equal, tensors, copies))


def test_tensors_that_do_not_lie_in_order():
    x, weight = random((24, 6), (24, 16))
    with torch.no_grad():
        torch.testing.assert_close(linear(x.T, weight.T), x.T @ weight, rtol=1e-5, atol=1e-5)


def test_only_float32_on_a_cpu_goes_to_onednn():
    assert not is_for_onednn(torch.zeros(1, dtype=torch.float64))
    assert not is_for_onednn(torch.zeros(1, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_for_onednn(torch.zeros(1))
        assert linear(*random((4, 24), (16, 24))).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not is_for_onednn(torch.zeros(1))
