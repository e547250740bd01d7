"""The orders of public face parsers, as their own documents give them."""

import numpy as np
import pytest

from datasets import LABELS
from datasets.label_orders import ORDERS, conversion, in_order

CELEB = LABELS["celebamask_hq"]
WRITTEN = {
    "celebamaskhq": (
        "skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck cloth"
    ),
    "bisenet": (
        "skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l cloth hair hat"
    ),
    "segface": (
        "neck skin cloth l_ear r_ear l_brow r_brow l_eye r_eye nose mouth l_lip u_lip hair eye_g hat ear_r neck_l"
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_orders_are_as_written(order):
    assert ORDERS[order] == ("background", *WRITTEN[order].split())


@pytest.mark.parametrize("order", ORDERS)
def test_a_class_keeps_its_name_and_colour(order):
    table = in_order(CELEB, order)
    values = np.arange(19, dtype=np.uint8)
    converted = conversion(CELEB, table)[values]
    assert [table.names[k] for k in converted] == list(CELEB.names)
    assert [table.palette[k] for k in converted] == list(CELEB.palette)
    assert (conversion(table, CELEB)[converted] == values).all()
    assert (conversion(CELEB, table)[19:] == np.arange(19, 256)).all()


def test_some_known_values():
    table = in_order(CELEB, "bisenet")
    hair, nose = (conversion(CELEB, table)[CELEB.names.index(name)] for name in ("hair", "nose"))
    assert (hair, nose) == (17, 10)


def test_what_cannot_be_ordered():
    with pytest.raises(ValueError, match="bisenet"):
        in_order(CELEB, "other")
    with pytest.raises(ValueError, match="LaPa has others"):
        in_order(LABELS["lapa"], "bisenet")
