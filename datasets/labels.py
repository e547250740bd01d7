"""Classes of each dataset: names, colours, groups, left/right pairs, long tail, and the head that it trains."""

from dataclasses import dataclass, field
from pathlib import Path

IGNORE = 255  # label value of pixels that count in no metric and reach no loss


@dataclass(frozen=True)
class Labels:
    """The label table of a dataset; the value of a class in a label map is its index in ``names``.

    ``palette`` has an RGB colour, 0 to 255, for each class. ``pairs`` are classes that a horizontal flip must swap.
    ``groups`` are merged classes of the evaluation. ``head`` is the model head, of the same number of classes.
    ``folder`` is the dataset's usual folder under DATA_PATH. ``sizes`` are the published numbers of images by split.
    """

    title: str
    folder: str
    head: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    pairs: tuple[tuple[str, str], ...]
    sizes: dict[str, int]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    long_tail: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.names)


# Colours of the classes that the three datasets share; left and right, the person's own, are shades of one hue. Skin,
# hair and lips look like themselves; with that, all are as far apart as a search could put them, in CIELAB, for normal
# vision and for the three kinds of colour blindness (Machado et al., IEEE TVCG 2009).
BACKGROUND, SKIN, HAIR, NOSE = (0, 0, 0), (255, 218, 188), (91, 47, 3), (192, 85, 13)
LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE = (30, 87, 180), (107, 184, 218), (0, 135, 92), (185, 255, 113)
UPPER_LIP, MOUTH, LOWER_LIP = (175, 74, 144), (118, 15, 70), (204, 0, 62)
ELEVEN_COLOURS = (
    BACKGROUND, SKIN, RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE, NOSE, UPPER_LIP, MOUTH, LOWER_LIP, HAIR,
)  # fmt: skip

LABELS = {
    "celebamask_hq": Labels(
        title="CelebAMask-HQ",
        folder="CelebAMask-HQ",
        head="segface_celeb",
        names=(
            "background", "neck", "skin", "cloth", "l_ear", "r_ear", "l_brow", "r_brow", "l_eye", "r_eye", "nose",
            "mouth", "l_lip", "u_lip", "hair", "eye_g", "hat", "ear_r", "neck_l",
        ),
        palette=(
            BACKGROUND, (237, 158, 105), SKIN, (28, 16, 156), (71, 32, 107), (189, 141, 255), LEFT_BROW, RIGHT_BROW,
            LEFT_EYE, RIGHT_EYE, NOSE, MOUTH, LOWER_LIP, UPPER_LIP, HAIR, (111, 255, 251), (157, 174, 167),
            (221, 250, 10), (205, 174, 3),
        ),
        pairs=(("l_ear", "r_ear"), ("l_brow", "r_brow"), ("l_eye", "r_eye")),
        sizes={"train": 24183, "val": 2993, "test": 2824},
        long_tail=("eye_g", "hat", "ear_r", "neck_l"),
    ),
    "lapa": Labels(
        title="LaPa",
        folder="LaPa",
        head="segface_lapa",
        names=("background", "face_lr_rr", "lb", "rb", "le", "re", "nose", "ul", "im", "ll", "hair"),
        palette=ELEVEN_COLOURS,
        pairs=(("lb", "rb"), ("le", "re")),
        sizes={"train": 18176, "val": 2000, "test": 2000},
    ),
    "helen": Labels(
        title="Helen",
        folder="helen",
        head="segface_helen",
        names=("bg", "face", "lb", "rb", "le", "re", "nose", "ulip", "imouth", "llip", "hair"),
        palette=ELEVEN_COLOURS,
        pairs=(("lb", "rb"), ("le", "re")),
        sizes={"train": 2000, "val": 330, "test": 330},
        groups={
            "eyes": ("le", "re"),
            "brows": ("lb", "rb"),
            "mouth": ("ulip", "imouth", "llip"),
            "overall": ("lb", "rb", "le", "re", "nose", "ulip", "imouth", "llip"),
        },
    ),
}  # fmt: skip


def canonical_name(dataset: str) -> str:
    """The key of LABELS for any usual spelling of a dataset's name (``CelebAMask-HQ``, ``HELEN``); else ValueError."""
    plain = {key.replace("_", ""): key for key in LABELS}
    key = plain.get("".join(c for c in dataset.lower() if c.isalnum()))
    if key is None:
        raise ValueError(f"unknown dataset {dataset!r}; choose one of {', '.join(LABELS)}")
    return key


def dataset_root(data_path: str | Path, dataset: str) -> Path:
    """A dataset's folder under DATA_PATH, whatever the case of its letters, or its usual name if there is none."""
    usual = Path(data_path) / LABELS[dataset].folder
    if usual.is_dir() or not Path(data_path).is_dir():
        return usual
    names = {folder.name.lower().replace("-", "").replace("_", ""): folder for folder in Path(data_path).iterdir()}
    return names.get(dataset.replace("_", ""), usual)
