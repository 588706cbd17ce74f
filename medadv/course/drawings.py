"""Drawings that several notebooks share; each returns a matplotlib figure for `figures.show` or
`figures.slider`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medadv.course.figures import COLOURS, MARKERS, axes


def heat(
    values: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    limits: tuple[float, float] = (-3.5, 3.5),
    width: float = 7.0,
    height: float = 3.2,
):
    """Draw a table of numbers as coloured cells with the numbers in them.

    Shapes   values (R, C).
    Units    limits are the values of the darkest colours; width and height in inches.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=width, height=height)
    array = np.asarray(values, dtype=float)
    shown = np.clip(np.nan_to_num(array, neginf=limits[0]), *limits)
    axis.imshow(shown, cmap="PuOr_r" if limits[0] < 0 else "Blues", vmin=limits[0], vmax=limits[1], aspect="auto")
    axis.grid(False)
    middle, half = sum(limits) / 2, (limits[1] - limits[0]) / 2
    dark_from = 0.65 * half if limits[0] < 0 else 0.2 * half
    for (r, c), value in np.ndenumerate(array):
        dark = abs(shown[r, c] - middle) > dark_from if limits[0] < 0 else shown[r, c] - middle > dark_from
        text = f"{value:.2f}" if np.isfinite(value) else "never"
        axis.text(c, r, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axis.set_xticks(range(len(columns)), columns, rotation=25, ha="right", fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.set_title(title, fontsize=10)
    return figure


def circle(image: Tensor, text: Tensor, images: Sequence[str], captions: Sequence[str], *, title: str = ""):
    """Draw unit vectors in the plane: images as filled marks inside, captions as words outside.

    Shapes   image (B, 2), text (N, 2).
    Units    none.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=3.7)
    turn = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(turn), np.sin(turn), color="#b0b0b0", linewidth=1)
    for i, (x, y) in enumerate(np.asarray(image)):
        axis.plot([0, x], [0, y], color=COLOURS[i], linewidth=1.5)
        axis.plot(x, y, MARKERS[i], color=COLOURS[i], markersize=10, label=images[i], linestyle="none")
    placed: list[tuple[bool, float]] = []
    for i in np.argsort(np.asarray(text)[:, 1], kind="stable"):
        x, y = np.asarray(text)[i]
        height = y * 1.15
        for side, other in placed:
            if side == (x >= 0) and height - other < 0.2:
                height = other + 0.2
        placed.append((x >= 0, height))
        axis.plot(x, y, "o", color="black", markersize=4)
        place = (1.25 if x >= 0 else -1.25, height)
        axis.annotate(
            captions[i],
            (x, y),
            place,
            fontsize=9,
            va="center",
            ha="left" if x >= 0 else "right",
            arrowprops={"arrowstyle": "-", "color": "#8c8c8c", "linewidth": 0.7},
        )
    axis.set(xlim=(-3.3, 3.3), ylim=(-1.3, 1.6), title=title)
    axis.set_aspect("equal")
    axis.axis("off")
    axis.legend(loc="upper center", ncols=4, fontsize=9, frameon=False, handletextpad=0.2)
    return figure
