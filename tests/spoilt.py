"""Files of datasets that are spoilt in the usual ways."""

import numpy as np
from PIL import Image


def cut(path, share=0.5):
    """Keep the beginning alone."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def resize(path, side):
    """Another size of the same picture."""
    Image.open(path).resize((side, side), Image.Resampling.NEAREST).save(path)


def set_value(path, value):
    """A value in the corner of a label map."""
    label = np.array(Image.open(path))
    label[0, 0] = value
    Image.fromarray(label).save(path)
