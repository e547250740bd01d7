"""Who is drawn: everything about a face that varies from one to the next, except its pose."""

from dataclasses import dataclass

import numpy as np

# The share of pictures that show each of the rare classes, about that of CelebAMask-HQ. Of CelebA's pictures, from
# which those are taken, 6.5 % have the attribute Eyeglasses, 4.8 % Wearing_Hat, 18.9 % Wearing_Earrings and 12.3 %
# Wearing_Necklace (Liu et al., ICCV 2015); in the closer crop, half of the necklaces are out of sight.
RATES = {"eye_g": 0.05, "hat": 0.04, "ear_r": 0.20, "neck_l": 0.06}

SKIN_TONES = (
    (255, 224, 200),
    (243, 201, 170),
    (226, 178, 143),
    (198, 142, 105),
    (158, 105, 72),
    (112, 72, 50),
    (74, 48, 36),
)
HAIR_COLOURS = {
    (22, 18, 16): 0.27, (46, 30, 20): 0.24, (82, 54, 33): 0.17, (128, 88, 50): 0.08, (196, 158, 98): 0.08,
    (226, 200, 146): 0.04, (140, 62, 26): 0.04, (120, 116, 112): 0.04, (214, 210, 204): 0.02, (150, 40, 70): 0.01,
    (70, 80, 150): 0.01,
}  # fmt: skip
EYE_COLOURS = ((60, 38, 22), (92, 58, 30), (110, 100, 60), (80, 112, 130), (96, 124, 96), (44, 30, 24))
HAIR_STYLES = {
    "bald": (0.0, 0.07), "short": (0.05, 0.5), "receding": (0.0, 0.12), "curly": (0.1, 0.14), "tied": (0.16, 0.02),
    "bob": (0.22, 0.03), "long": (0.39, 0.05), "fringe": (0.08, 0.07),
}  # fmt: skip  # style: its share among women and men


@dataclass(frozen=True)
class Person:
    """What a person looks like and wears.

    Colours are RGB in [0, 1], lengths in half widths of the head, other numbers factors around 1 or in [0, 1].
    """

    woman: bool
    skin: np.ndarray
    hair: np.ndarray
    brow: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    length: float
    jaw: float
    chin: float
    hair_style: str
    volume: float
    wave: float
    parting: float
    tucked: tuple[bool, bool]
    eye_size: float
    eye_open: float
    slant: float
    gaze: tuple[float, float]
    lashes: float
    brow_raise: float
    brow_arch: float
    brow_width: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_open: float
    smile: float
    fullness: float
    beard: str
    age: float
    glasses: str
    hat: str
    earrings: str
    necklace: str

    @property
    def wears(self) -> set[str]:
        """The rare classes that are drawn."""
        worn = {"eye_g": self.glasses, "hat": self.hat, "ear_r": self.earrings, "neck_l": self.necklace}
        return {name for name, kind in worn.items() if kind}


def sample_person(generator: np.random.Generator) -> Person:
    """A person at random."""
    uniform, normal, chance = generator.uniform, generator.normal, generator.random

    def around_one(spread: float) -> float:
        return float(np.clip(normal(1, spread), 1 - 2 * spread, 1 + 2 * spread))

    woman = bool(chance() < 0.5)
    tone = uniform(0, len(SKIN_TONES) - 1)
    skin = jitter(generator, blend_of(SKIN_TONES, tone), 0.02)
    dark = chance() < 0.15 * tone  # darker skin mostly goes with darker hair
    hair = jitter(
        generator, pick(generator, dict(list(HAIR_COLOURS.items())[:3]) if dark else HAIR_COLOURS) / 255, 0.03
    )
    natural = skin * (0.88, 0.66, 0.64) + (0.02, 0.0, 0.01)
    lipstick = np.array([uniform(0.45, 0.85), uniform(0.05, 0.3), uniform(0.1, 0.4)])
    painted = uniform(0.3, 0.8) if woman and chance() < 0.45 else 0.0
    glasses, hat, earrings, necklace = (chance() < rate for rate in RATES.values())
    styles = {style: share[0 if woman else 1] for style, share in HAIR_STYLES.items()}
    tucked = (bool(chance() < 0.4), bool(chance() < 0.4))
    if earrings and not any(tucked):
        tucked = (True, False) if chance() < 0.5 else (False, True)
    return Person(
        woman=woman,
        skin=skin,
        hair=hair,
        brow=np.clip(0.55 * hair + 0.2 * skin * uniform(0.3, 1), 0, 1),
        iris=jitter(generator, np.array(EYE_COLOURS[generator.integers(len(EYE_COLOURS))]) / 255, 0.04),
        lips=np.clip((1 - painted) * natural + painted * lipstick, 0, 1),
        length=around_one(0.05),
        jaw=float(uniform(0.86, 1.0) if woman else uniform(0.92, 1.08)),
        chin=float(uniform(0.75, 1.0) if woman else uniform(0.9, 1.25)),
        hair_style=pick(generator, styles),
        volume=float(uniform(0.08, 0.26)) * (0.35 if hat else 1),
        wave=float(uniform(0, 1) ** 2),
        parting=float(uniform(-0.55, 0.55)),
        tucked=tucked,
        eye_size=around_one(0.1),
        eye_open=float(uniform(0.25, 0.5) if chance() < 0.1 else uniform(0.65, 1.2)),
        slant=float(normal(0.015, 0.03)),
        gaze=(float(np.clip(normal(0, 0.35), -0.8, 0.8)), float(np.clip(normal(0, 0.25), -0.5, 0.5))),
        lashes=float(uniform(0.4, 1) if woman else uniform(0, 0.4)),
        brow_raise=float(normal(0, 0.03)),
        brow_arch=float(uniform(0.02, 0.12)),
        brow_width=float(uniform(0.06, 0.1) if woman else uniform(0.09, 0.15)),
        nose_width=around_one(0.12),
        nose_length=around_one(0.06),
        mouth_width=around_one(0.1),
        mouth_open=float(uniform(0.05, 0.26) if chance() < 0.45 else 0),
        smile=float(np.clip(normal(0.04, 0.06), -0.06, 0.16)),
        fullness=around_one(0.18),
        beard="" if woman else pick(generator, {"": 0.55, "stubble": 0.2, "full": 0.15, "moustache": 0.1}),
        age=float(uniform(0, 1) ** 2),
        glasses=pick(generator, {"round": 0.3, "square": 0.4, "rimless": 0.12, "sun": 0.18}) if glasses else "",
        hat=pick(generator, {"beanie": 0.35, "cap": 0.35, "brim": 0.3}) if hat else "",
        earrings=pick(generator, {"stud": 0.3, "hoop": 0.3, "drop": 0.4}) if earrings else "",
        necklace=pick(generator, {"chain": 0.35, "pearls": 0.35, "pendant": 0.3}) if necklace else "",
    )


def blend_of(colours: tuple[tuple[int, int, int], ...], position: float) -> np.ndarray:
    """A colour between two neighbours in a row of them, RGB in [0, 1]."""
    row = np.array(colours) / 255
    return np.array([np.interp(position, np.arange(len(row)), channel) for channel in row.T])


def jitter(generator: np.random.Generator, colour: np.ndarray, spread: float) -> np.ndarray:
    """A colour near to another."""
    return np.clip(colour * generator.normal(1, 2 * spread) + generator.normal(0, spread / 2, 3), 0.02, 1)


def pick(generator: np.random.Generator, shares: dict) -> np.ndarray | str:
    """A key of ``shares``, as often as its share."""
    keys, weights = list(shares), np.array(list(shares.values()))
    key = keys[generator.choice(len(keys), p=weights / weights.sum())]
    return np.array(key) if isinstance(key, tuple) else key
