"""Label maps at a picture's own size: logits are enlarged before the best class is chosen, so that edges are smooth."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

# A class's logits at the size that is wanted, (H, W) float32, made when it is asked for: all would not fit in memory.
Plane = Callable[[int], np.ndarray]


def enlarged(logits: np.ndarray, size: tuple[int, int]) -> Plane:
    """Planes of logits (K, R, R) float32 at ``size`` (H, W), bilinear, as ``align_corners=False`` of PyTorch."""
    return lambda k: cv2.resize(logits[k], size[::-1], interpolation=cv2.INTER_LINEAR)


def best_class(plane: Plane, num_classes: int) -> np.ndarray:
    """The class of the highest logit at each pixel, the first of equal ones: uint8 (H, W)."""
    best = plane(0)
    label = np.zeros(best.shape, np.uint8)
    for k in range(1, num_classes):
        logit = plane(k)
        np.putmask(label, logit > best, k)
        np.maximum(best, logit, out=best)
    return label


def softmax(plane: Plane, num_classes: int) -> Iterator[np.ndarray]:
    """The probability of one class after the other, float32 (H, W)."""
    highest = plane(0)
    for k in range(1, num_classes):
        np.maximum(highest, plane(k), out=highest)
    total = sum(np.exp(plane(k) - highest) for k in range(num_classes))
    for k in range(num_classes):
        yield np.exp(plane(k) - highest) / total
