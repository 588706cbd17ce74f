"""Drawings of the second chapter; each returns a matplotlib figure or pixels for `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from medadv.course.ch02.toy import NORMS, strongest
from medadv.course.figures import COLOURS, MARKERS, axes


def balls(weight: tuple[float, float] = (0.8, 0.35)):
    """Draw the unit balls of three norms for two pixels, and the point of each that a linear score likes best.

    Shapes   weight of two numbers.
    Units    none.
    Returns  a matplotlib figure of three panels.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, panels = axes(columns=3, width=7.4, height=2.9)
    w, turn = torch.tensor(weight), np.linspace(0, 2 * np.pi, 200)
    grid = np.linspace(-1.6, 1.6, 50)
    score = weight[0] * grid[None, :] + weight[1] * grid[:, None]
    edges = {
        "linf": (np.array([-1, 1, 1, -1, -1]), np.array([-1, -1, 1, 1, -1])),
        "l2": (np.cos(turn), np.sin(turn)),
        "l1": (np.array([-1, 0, 1, 0, -1]), np.array([0, -1, 0, 1, 0])),
    }
    for k, (axis, norm) in enumerate(zip(panels, NORMS, strict=True)):
        axis.contour(grid, grid, score, levels=9, colors="#b0b0b0", linewidths=0.8, linestyles="solid")
        axis.plot(*edges[norm], color=COLOURS[k])
        best = strongest(w, 1.0, norm).tolist()
        axis.annotate("", best, (0, 0), arrowprops={"arrowstyle": "-|>", "color": COLOURS[k], "linewidth": 2})
        axis.plot(*best, MARKERS[k], color=COLOURS[k], markersize=9)
        axis.set_title({"linf": "L-infinity", "l2": "L2", "l1": "L1"}[norm], fontsize=10)
        axis.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xlabel="pixel 1", ylabel="pixel 2" if not k else "")
        axis.set_aspect("equal")
        axis.grid(False)
    return figure


def lines(
    where: Sequence, found: Mapping[str, Sequence], *, xlabel: str, ylabel: str, log: str = "", limits=None, height=3.0
):
    """Draw plain lines without intervals.

    Shapes   where V numbers; every line V numbers.
    Units    those of the caller; log is "", "x", "y" or "xy".
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=6.4, height=height)
    for s, (name, many) in enumerate(found.items()):
        axis.plot(np.asarray(where, float), np.asarray(many, float), MARKERS[s] + "-", color=COLOURS[s], label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if "x" in log:
        axis.set_xscale("log")
        axis.set_xticks(list(where), [f"{value:g}" for value in where])
        axis.minorticks_off()
    if "y" in log:
        axis.set_yscale("log")
    if limits is not None:
        axis.set_ylim(*limits)
    axis.legend(fontsize=9, frameon=False)
    return figure


def row(pictures: Sequence[Tensor], titles: Sequence[str], *, size: float = 1.9):
    """Draw pictures side by side with their titles.

    Shapes   pictures (3, H, W) each.
    Units    [0, 1]; size of one in inches.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, panels = axes(columns=len(pictures), width=size * len(pictures) + 0.2, height=size + 0.4, squeeze=False)
    for axis, picture, title in zip(panels[0], pictures, titles, strict=True):
        axis.imshow(np.asarray(picture).transpose(1, 2, 0), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    return figure


def signed(values: Tensor) -> Tensor:
    """Turn signed numbers into a picture: blue below zero, white at zero, red above.

    Shapes   values (H, W); result (3, H, W).
    Units    the largest size is the fullest colour.
    Returns  pixels.
    Raises   nothing.
    Source   ours.
    """
    part = (values / values.abs().max().clamp_min(1e-12)).clamp(-1, 1)
    red, blue = 1 + part.clamp(max=0), 1 - part.clamp(min=0)
    return torch.stack([red, torch.minimum(red, blue), blue])


def landscape(loss: Tensor, along: Sequence[float], across: Sequence[float], path: Tensor):
    """Draw the loss over a plane through an image, with the way an attack took.

    Shapes   loss (A, C); path (S, 2) of coordinates along and across.
    Units    coordinates in multiples of eps.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=5.6, height=3.2)
    shown = axis.contourf(np.asarray(along), np.asarray(across), np.asarray(loss).T, levels=14, cmap="Blues")
    figure.colorbar(shown, label="loss")
    axis.plot(path[:, 0], path[:, 1], "o-", color=COLOURS[1], markersize=4, linewidth=1.5)
    axis.plot(path[0, 0], path[0, 1], "s", color="black", markersize=7)
    axis.set(xlabel="along the first step, in eps", ylabel="across, in eps")
    axis.grid(False)
    return figure
