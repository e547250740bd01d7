"""The picture of a run: losses, scores, learning rate, speed and memory over its epochs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.labels import Labels
from utils.visualize import DPI, GREY, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[int, float]]  # numbers of epochs done, and values

# Okabe and Ito's colours, told apart with any kind of colour vision.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
MOST_MARKERS = 20  # points of a line that are still marked one by one
MOST_FALLS = 8  # a learning rate that falls more often falls smoothly, as its own panel shows
SHADE = "#f2f2f2"  # behind the classes: with the outline it keeps their light colours visible


def curves(entries: Sequence[dict[str, Any]], labels: Labels, path: Path, title: str = "") -> None:
    """Write the curves of a run as PNG, six panels of 1500 x 750 pixels, over the number of epochs done.

    ``entries`` are the lines of ``metrics.jsonl``; what a line does not have is left out. Dotted lines mark the epochs
    at which the learning rate fell.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(15, 7.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 3, width_ratios=(1, 1, 1.25))
    (loss, f1, classes), (lr, speed, memory) = panels
    draw_losses(loss, entries)
    draw_means(f1, entries)
    draw_classes(classes, entries, labels)
    draw_learning_rate(lr, entries)
    draw_speed(speed, entries)
    draw_memory(memory, entries)

    rates = points(entries, "lr")
    falls = [epoch for (epoch, before), (_, after) in itertools.pairwise(rates) if after < before]
    last = max((entry["epoch"] + 1 for entry in entries), default=1)
    for axis in panels.flat:
        for epoch in falls if len(falls) <= MOST_FALLS else ():
            axis.axvline(epoch, color=GREY, linestyle=":", linewidth=1)
        axis.set_xlim(0, last + max(1, 0.03 * last))
        axis.set_xlabel("epochs")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def points(entries: Sequence[dict[str, Any]], *keys: str, factor: float = 1) -> Points:
    """The value under a path of keys, times a factor, of each line that has one."""
    found = []
    for entry in entries:
        value: Any = entry
        for key in keys:
            value = (value or {}).get(key)
        if value is not None:
            found.append((entry["epoch"] + 1, factor * value))
    return found


def draw_line(axis: Axes, points: Points, name: str, colour: str | tuple[float, ...], **style: Any) -> None:
    """Draw a line, and its points if they are few."""
    marker = "." if len(points) <= MOST_MARKERS else None
    xs, ys = zip(*points, strict=True) if points else ((), ())
    axis.plot(xs, ys, color=colour, label=name, marker=marker, **style)


def start_at_zero(axis: Axes) -> None:
    """Let the values begin at zero, and end well above the highest, so that a level line keeps off the frame."""
    highest = max((value for line in axis.lines for value in line.get_ydata()), default=0)
    axis.set_ylim(0, 1.15 * highest or 1)


def draw_losses(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    for key, name, colour in (("loss", "loss", BLUE), ("ce", "cross-entropy", ORANGE), ("dice", "Dice", GREEN)):
        draw_line(axis, points(entries, key), name, colour)
    axis.set_title("training loss")
    start_at_zero(axis)
    axis.legend()


def draw_means(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    draw_line(axis, points(entries, "val", "mean_f1", factor=100), "mean F1", BLUE)
    for keys, name, style in (
        (("val", "long_tail_f1"), "long-tail mean F1", {"colour": ORANGE}),
        (("val_ema", "mean_f1"), "mean F1 of the EMA", {"colour": BLUE, "linestyle": "--"}),
    ):
        if found := points(entries, *keys, factor=100):
            draw_line(axis, found, name, **style)
    axis.set_title("validation mean F1, percent")
    axis.set_ylim(0, 100)
    axis.legend()


def draw_classes(axis: Axes, entries: Sequence[dict[str, Any]], labels: Labels) -> None:
    """F1 of each class that was ever there, in its colour, with the names beside the panel."""
    from matplotlib.patheffects import Normal, Stroke

    outline = [Stroke(linewidth=2.2, foreground="#404040"), Normal()]
    for name, colour in zip(labels.names, labels.palette, strict=True):
        if found := points(entries, "val", "f1", name, factor=100):
            rgb = tuple(value / 255 for value in colour)
            draw_line(axis, found, name, rgb, linewidth=1.5, path_effects=outline)
    axis.set_title("validation F1 of each class, percent")
    axis.set_ylim(0, 100)
    axis.set_facecolor(SHADE)
    if axis.lines:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9, labelspacing=0.25)


def draw_learning_rate(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    rates = points(entries, "lr")
    draw_line(axis, rates, "learning rate", BLUE, drawstyle="steps-pre")  # it is that of the whole epoch
    axis.set_title("learning rate")
    if any(rate > 0 for _, rate in rates):
        axis.set_yscale("log")


def draw_speed(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    """Samples per second, and on the right the share of the time that went into waiting for data."""
    draw_line(axis, points(entries, "samples_per_second"), "samples per second", BLUE)
    axis.set_title("samples per second")
    start_at_zero(axis)
    if waiting := points(entries, "data_wait", factor=100):
        right = axis.twinx()
        draw_line(right, waiting, "waiting for data", ORANGE, linestyle="--")
        right.set_ylabel("waiting for data, percent of the time", color=ORANGE)
        right.set_ylim(0, 100)


def draw_memory(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    draw_line(axis, points(entries, "peak_memory_gb"), "peak memory", BLUE)
    axis.set_title("peak memory, GB")
    start_at_zero(axis)
