"""The training loss: cross-entropy and Dice in equal parts (paper, section 3.4)."""

import torch
import torch.nn.functional as F

from datasets.labels import IGNORE

CE_WEIGHT = DICE_WEIGHT = 0.5
SMOOTH = 1e-5


def segface_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """``0.5 * CE + 0.5 * Dice`` of a batch.

    Logits are (B, K, H, W) in any precision, labels (B, H, W) integers from 0 to K - 1, or 255 for pixels to leave
    out. Cross-entropy is the mean over pixels. Dice is, for each class over the whole batch,
    ``1 - (2 sum(p y) + 1e-5) / (sum(p p) + sum(y) + 1e-5)``, averaged over all K classes, background included.
    Returns the loss and its detached parts ``{"ce", "dice"}``, in at least float32.
    """
    counted = labels != IGNORE  # (B, H, W)
    index = labels.long().where(counted, 0)
    log_p = F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))  # (B, K, H, W)
    log_p_true = log_p.gather(1, index[:, None])[:, 0]  # (B, H, W)
    ce = -(log_p_true * counted).sum() / counted.sum().clamp(min=1)
    dice = dice_loss(log_p.exp(), log_p_true.exp() * counted, index, counted)
    return CE_WEIGHT * ce + DICE_WEIGHT * dice, {"ce": ce.detach(), "dice": dice.detach()}


def dice_loss(p: torch.Tensor, p_true: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss, without a one-hot tensor of K planes.

    Probabilities are (B, K, H, W); ``p_true``, those of the labels, and ``counted`` are (B, H, W).
    """
    width = p.shape[-1]
    index = labels.view(-1, width)
    # Summed by row of the image first: one running float32 sum over all pixels would lose digits.
    zeros = p.new_zeros(len(index), p.shape[1])
    intersection = zeros.scatter_add(1, index, p_true.view(-1, width)).sum(0)  # (K,)
    target = torch.bincount(labels[counted], minlength=p.shape[1])  # (K,)
    predicted = (p.square() * counted[:, None]).sum((0, 2, 3))  # (K,)
    return (1 - (2 * intersection + SMOOTH) / (predicted + target + SMOOTH)).mean()
