import pytest
import torch
from plain_segface import plain_loss

from utils.losses import segface_loss


def random_batch(ignore=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 12, 16, dtype=dtype, generator=generator, requires_grad=True)
    labels = torch.randint(0, 5, (2, 12, 16), generator=generator)
    if ignore:
        labels[:, 3:6] = 255
    return logits, labels


@pytest.mark.parametrize("ignore", [False, True])
def test_loss_and_gradient_are_those_of_the_plain_formula(ignore):
    logits, labels = random_batch(ignore)
    expected = plain_loss(logits, labels)
    (gradient,) = torch.autograd.grad(expected, logits)
    loss, parts = segface_loss(logits, labels)
    (fast_gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(fast_gradient, gradient, rtol=1e-9, atol=1e-15)
    assert loss.item() == pytest.approx(0.5 * parts["ce"].item() + 0.5 * parts["dice"].item())
    assert not parts["ce"].requires_grad
    assert not parts["dice"].requires_grad


def test_ignored_pixels_have_no_influence():
    logits, labels = random_batch(ignore=True)
    loss, _ = segface_loss(logits, labels)
    other = logits.detach().clone()
    other[:, :, 3:6] += 5 * torch.rand(2, 5, 3, 16)
    assert segface_loss(other, labels)[0].item() == pytest.approx(loss.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, :, 3:6] == 0).all()


def test_every_pixel_ignored_gives_a_finite_loss():
    logits, labels = random_batch()
    loss, parts = segface_loss(logits, torch.full_like(labels, 255))
    assert loss.isfinite()
    assert parts["ce"] == 0


def test_perfect_prediction_has_no_loss():
    labels = torch.arange(4).repeat_interleave(16).view(1, 8, 8)
    logits = 200.0 * torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2)
    assert segface_loss(logits, labels)[0].item() == pytest.approx(0, abs=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    logits, labels = random_batch(dtype=torch.float32)
    loss, _ = segface_loss(logits.bfloat16(), labels.to(torch.uint8))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(segface_loss(logits, labels)[0].item(), rel=1e-2)


def test_labels_are_not_changed():
    logits, labels = random_batch(ignore=True)
    copy = labels.clone()
    segface_loss(logits, labels)
    assert torch.equal(labels, copy)
