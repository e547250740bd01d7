"""Pictures for people: label maps in colour, overlays with a legend, and galleries.

A class has the colour that ``datasets/labels.py`` gives it, in every picture. Nothing here needs a display.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.labels import IGNORE, Labels
from network.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IGNORED = (255, 255, 255)  # the colour of pixels that count in no metric
DPI = 100
GREY = "#888888"
LINE = 18  # pixels of a line of a small legend
PIXELS_AT_ONCE = 2**18  # of an overlay: its memory stays small


@dataclass(frozen=True)
class GalleryRow:
    """A picture, uint8 (H, W, 3) RGB, with its true and predicted label map, integers (H, W)."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def can_draw(logger: Logger) -> bool:
    """Whether there is a matplotlib that works, which a run can do without; if not, that is logged."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        logger.info(f"no pictures, as matplotlib is missing or broken ({error}); pip install matplotlib")
        return False
    return True


def try_to_write(path: Path, write: Callable[[Path], None], logger: Logger) -> bool:
    """Write a picture and say whether that worked; where the disk refuses, that is logged and the run goes on."""
    try:
        write(path)
    except OSError as error:
        logger.info(f"could not write {path}: {error}")
        return False
    return True


def colourise(label: np.ndarray, labels: Labels) -> np.ndarray:
    """A label map (H, W), integers, in the colours of its classes: uint8 (H, W, 3) RGB; pixels to ignore are white.

    Raises ValueError for a value that is no class.
    """
    table = np.full((IGNORE + 1, 3), -1, np.int16)
    table[: labels.num_classes] = labels.palette
    table[IGNORE] = IGNORED
    if label.size and not 0 <= label.min() <= label.max() <= IGNORE:
        raise ValueError(f"label values from {label.min()} to {label.max()}; expected 0 to {labels.num_classes - 1}")
    colours = table[label]
    if (colours < 0).any():
        wrong = label[(colours < 0).any(-1)].flat[0]
        raise ValueError(f"label value {wrong}; {labels.title} has classes 0 to {labels.num_classes - 1}")
    return colours.astype(np.uint8)


def overlay(image: np.ndarray, label: np.ndarray, labels: Labels, opacity: float = 0.55) -> np.ndarray:
    """A picture, uint8 (H, W, 3) RGB, with the colours of its classes laid over it; the background stays as it is.

    ``opacity`` is that of the colours; along the edge of a class they are opaque, so that small parts stay visible.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(f"image {image.shape} and label {label.shape}; expected the same height and width")
    result = np.empty(image.shape, np.uint8)
    rows = max(1, PIXELS_AT_ONCE // max(1, label.shape[1]))
    for top in range(0, len(label), rows):
        strip, above = slice(top, top + rows), max(0, top - 1)
        part = label[strip]
        edge = edges(label[above : top + rows])[top - above :]
        alpha = np.where(edge, np.float32(1), np.float32(opacity)) * ((part != 0) & (part != IGNORE))
        mixed = image[strip] + alpha[..., None] * (colourise(part, labels).astype(np.float32) - image[strip])
        result[strip] = np.round(mixed, out=mixed)
    return result


def edges(label: np.ndarray) -> np.ndarray:
    """Where a label map (H, W) differs from the pixel above or to the left, bool (H, W)."""
    edge = np.zeros(label.shape, bool)
    edge[1:] |= label[1:] != label[:-1]
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    return edge


def with_legend(picture: np.ndarray, labels: Labels, present: Iterable[int] | None = None) -> np.ndarray:
    """A picture, uint8 (H, W, 3), with the names and colours of the classes to its right: uint8 (H', W', 3).

    ``present`` are the classes to name, all by default. The legend grows with the picture; a low picture gets a white
    margin below, so that it can be read.
    """
    present = range(labels.num_classes) if present is None else sorted(present)
    if not len(present):
        return picture
    line = max(LINE, min(picture.shape[:2]) // 40)
    strip = legend(labels, tuple(labels.names[k] for k in present), line)
    height = max(picture.shape[0], strip.shape[0])
    canvas = np.full((height, picture.shape[1] + strip.shape[1], 3), 255, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    canvas[: strip.shape[0], picture.shape[1] :] = strip
    return canvas


def legend(labels: Labels, names: Iterable[str], line: int = LINE) -> np.ndarray:
    """Colours and names of classes under each other, ``line`` pixels each: uint8 (H, W, 3), as wide as for all."""
    font = ImageFont.load_default(0.7 * line)
    widest = max(font.getlength(name) for name in labels.names)
    picture = Image.new("RGB", (round(2.1 * line + widest), line * len(list(names)) + line // 2), "white")
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        top = line // 4 + number * line
        colour = labels.palette[labels.names.index(name)]
        swatch = (0.4 * line, top + 0.12 * line, 1.4 * line, top + 0.88 * line)
        draw.rectangle(swatch, fill=colour, outline=GREY, width=max(1, line // 20))
        draw.text((1.7 * line, top + line / 2), name, "black", font, anchor="lm")
    return np.asarray(picture)


def patches(labels: Labels, classes: Iterable[int]) -> list:
    """A handle for a legend for each of the classes."""
    from matplotlib.patches import Patch

    colours = [[value / 255 for value in colour] for colour in labels.palette]
    return [Patch(facecolor=colours[k], edgecolor=GREY, linewidth=0.5, label=labels.names[k]) for k in classes]


def to_array(figure: Figure) -> np.ndarray:
    """A figure as uint8 (H, W, 3)."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    return np.asarray(Image.open(file).convert("RGB"))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=figure.dpi)


def gallery(rows: Sequence[GalleryRow], labels: Labels, path: Path, title: str = "", across: int = 2) -> None:
    """Write pictures with truth and prediction beside them, ``across`` in a line, over a legend of all classes."""
    from matplotlib.figure import Figure

    lines = -(-len(rows) // across)
    side, top, bottom = 1.7, 0.5, 0.75  # inches
    height = lines * (side + 0.08) + top + bottom
    figure = Figure(figsize=(3 * across * (side + 0.08), height), dpi=DPI)
    axes = figure.subplots(lines, 3 * across, squeeze=False)
    figure.subplots_adjust(0.005, bottom / height, 0.995, 1 - top / height, wspace=0.04, hspace=0.04)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, row in enumerate(rows):
        line, column = divmod(number, across)
        panels = {
            "picture": row.image,
            "truth": colourise(row.truth, labels),
            "prediction": colourise(row.prediction, labels),
        }
        for axis, (name, picture) in zip(axes[line, 3 * column :], panels.items(), strict=False):
            axis.imshow(picture)
            if line == 0:
                axis.set_title(name, fontsize=11)
        name_on(axes[line, 3 * column], row.name)
    figure.suptitle(title, fontsize=11, y=1 - 0.06 / height, va="top")
    figure.legend(
        handles=patches(labels, range(labels.num_classes)),
        loc="lower center",
        ncols=-(-labels.num_classes // 2) if across > 1 else 6,
        frameon=False,
        fontsize=10,
        handlelength=1.2,
        columnspacing=1.2,
    )
    save(figure, path)


def name_on(axis: Axes, name: str) -> None:
    """A picture's name in its corner."""
    box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
    axis.text(0.02, 0.97, name, transform=axis.transAxes, fontsize=7, va="top", bbox=box)
