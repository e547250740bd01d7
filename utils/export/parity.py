"""Whether two models compute the same."""

from dataclasses import dataclass

import numpy as np

from datasets.drawing import draw_face
from network import ModelError
from utils.inference.crops import CANONICAL
from utils.inference.models import Model
from utils.inference.pictures import squash

LARGEST_DIFFERENCE = 1e-3
ROUNDING = 5e-5  # of the largest logit: a network of float32 is so far from one of float64 where logits pass a hundred
LEAST_AGREEMENT = 0.999
BATCH = 3


class ParityError(ModelError):
    """An exported file does not compute what the model does."""


@dataclass(frozen=True)
class Parity:
    """The largest difference of a logit and the largest logit, None for label maps, and the share of equal classes."""

    difference: float | None
    largest: float | None
    agreement: float

    @property
    def allowed(self) -> float:
        """The largest difference that is no more than rounding."""
        return max(LARGEST_DIFFERENCE, ROUNDING * (self.largest or 0))

    def in_words(self) -> str:
        if self.difference is None:
            return f"same class at {self.agreement:.4%} of the pixels"
        of = f"{self.difference:.1e} (logits up to {self.largest:.0f})"
        return f"largest difference of a logit {of}, same class at {self.agreement:.4%} of the pixels"

    def check(self) -> None:
        """Raise ParityError where they differ by more than rounding."""
        far = self.difference is not None and not self.difference <= self.allowed
        if far or not self.agreement >= LEAST_AGREEMENT:
            raise ParityError(
                f"the exported file does not compute what PyTorch does: {self.in_words()}; expected at "
                f"most {self.allowed:.1e} and at least {LEAST_AGREEMENT:.1%}. It was not kept"
            )


def sample_images(side: int) -> np.ndarray:
    """Random and drawn pictures, uint8 (5, side, side, 3)."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (2, side, side, 3), np.uint8)
    drawn = [squash(np.asarray(draw_face(generator, 128).image), side) for _ in range(3)]
    return np.concatenate([noise, drawn])


def compare(model: Model, exported: Model, images: np.ndarray) -> Parity:
    """Two models on pictures uint8 (N, R, R, 3), in batches of one and of several, with landmarks of many faces."""
    jitter = np.random.default_rng(1).normal(0, 0.02, (len(images), 5, 2))
    landmarks = np.float32((CANONICAL + jitter) * images.shape[1])
    differences, largest, same = [], [], []
    for start in (0, *range(1, len(images), BATCH)):  # the first alone
        batch = slice(start, start + BATCH if start else 1)
        expected, found = (each.logits(images[batch], landmarks[batch]) for each in (model, exported))
        differences.append(float(np.abs(expected - found).max()))
        largest.append(float(np.abs(expected).max()))
        same.append(np.mean(expected.argmax(1) == found.argmax(1), axis=(1, 2)))
    agreement = float(np.concatenate(same).mean())
    return Parity(max(differences), max(largest), agreement) if exported.gives_logits else Parity(None, None, agreement)
