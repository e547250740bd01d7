"""The training loss: cross-entropy and Dice in equal parts (paper, section 3.4)."""

import torch
import torch.nn.functional as F

CE_WEIGHT = DICE_WEIGHT = 0.5
SMOOTH = 1e-5
IGNORE = 255


def segface_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """``0.5 * CE + 0.5 * Dice`` of a batch.

    Logits are (B, K, H, W) in any precision, labels (B, H, W) integers from 0 to K - 1, or 255 for pixels to leave
    out. Cross-entropy is the mean over pixels. Dice is, for each class over the whole batch,
    ``1 - (2 sum(p y) + 1e-5) / (sum(p p) + sum(y) + 1e-5)``, averaged over all K classes, background included.
    Returns the loss and its detached parts ``{"ce", "dice"}``, in at least float32.
    """
    labels = labels.long()
    log_p = F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))  # (B, K, H, W)
    ce = cross_entropy(log_p, labels)
    dice = dice_loss(log_p.exp(), labels)
    return CE_WEIGHT * ce + DICE_WEIGHT * dice, {"ce": ce.detach(), "dice": dice.detach()}


def cross_entropy(log_p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean of ``-log_p`` at the labels; 0 where every pixel is left out."""
    counted = (labels != IGNORE).sum().clamp(min=1)
    return F.nll_loss(log_p, labels, ignore_index=IGNORE, reduction="sum") / counted


def dice_loss(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss of probabilities (B, K, H, W), without a one-hot tensor of K planes."""
    num_classes, width = p.shape[1], p.shape[3]
    counted = labels != IGNORE  # (B, H, W)
    index = labels.where(counted, 0)
    p_true = p.gather(1, index[:, None])[:, 0] * counted  # (B, H, W)
    # Summed by row of the image first: one running float32 sum over all pixels would lose digits.
    rows = index.view(-1, width), counted.view(-1, width).to(p.dtype)
    zeros = p.new_zeros(len(rows[0]), num_classes)
    intersection = zeros.scatter_add(1, rows[0], p_true.reshape(-1, width)).sum(0)  # (K,)
    target = zeros.scatter_add(1, *rows).sum(0)  # (K,)
    predicted = (p.square() * counted[:, None]).sum((0, 2, 3))  # (K,)
    return (1 - (2 * intersection + SMOOTH) / (predicted + target + SMOOTH)).mean()
