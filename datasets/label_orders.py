"""The orders of CelebAMask-HQ's classes in public face parsers, and how to get from one to another.

All have the same 19 classes, and left and right are the person's own in each. Only the values in a label map differ.
"""

from dataclasses import replace

import numpy as np

from datasets.labels import IGNORE, LABELS, Labels

CELEBAMASK_HQ = LABELS["celebamask_hq"]
ORDERS = {
    "segface": CELEBAMASK_HQ.names,
    "celebamaskhq": (  # g_mask.py, the dataset's own script
        "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip",
        "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
    ),
    "bisenet": (  # face-parsing.PyTorch and what was built on it
        "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r", "nose", "mouth",
        "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
    ),
}  # fmt: skip


def in_order(labels: Labels, order: str) -> Labels:
    """The label table with its names and colours in an order of ORDERS.

    Raises ValueError for an unknown order, and for a table that does not have these classes.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown label order {order!r}; choose one of {', '.join(ORDERS)}")
    if set(labels.names) != set(ORDERS[order]):
        raise ValueError(f"the label order {order} is one of CelebAMask-HQ's 19 classes; {labels.title} has others")
    colours = dict(zip(labels.names, labels.palette, strict=True))
    return replace(labels, names=ORDERS[order], palette=tuple(colours[name] for name in ORDERS[order]))


def conversion(source: Labels, target: Labels) -> np.ndarray:
    """What each value of a label map becomes, uint8 (256,): ``conversion(a, b)[label_map]``.

    The tables must have the same classes. 255 stays 255; so does every other value that is no class.
    """
    values = np.arange(IGNORE + 1, dtype=np.uint8)
    values[: source.num_classes] = [target.names.index(name) for name in source.names]
    return values
