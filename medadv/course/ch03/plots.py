"""Drawings of the third chapter; each returns a matplotlib figure for `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from medadv.course.ch03.toy import Move, Ring
from medadv.course.figures import COLOURS, MARKERS, axes


def rings(world: Ring, moves: Mapping[str, Move]):
    """Draw a ring world once for each attack: hollow is where things were, filled where they are.

    Shapes   one panel for each move.
    Units    degrees; 0 is up.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, panels = axes(columns=len(moves), width=1.9 * len(moves) + 0.6, height=2.8, squeeze=False)
    turn = np.linspace(0, 2 * np.pi, 200)
    for axis, (name, move) in zip(panels[0], moves.items(), strict=True):
        axis.plot(np.sin(turn), np.cos(turn), color="#b0b0b0", linewidth=1)
        for angle in world.other:
            axis.plot(*_at(angle), "x", color=COLOURS[1], markersize=9, markeredgewidth=2.5)
        for angle, by in zip(world.own, move.turns, strict=True):
            axis.plot(*_at(angle), "s", color=COLOURS[0], markersize=8, fillstyle="none", markeredgewidth=1)
            axis.plot(*_at(angle + by), "s", color=COLOURS[0], markersize=8)
        axis.plot(*_at(world.image, 0.86), "o", color="black", markersize=9, fillstyle="none", markeredgewidth=1)
        axis.plot([0, _at(move.image)[0] * 0.86], [0, _at(move.image)[1] * 0.86], color="black", linewidth=1)
        axis.plot(*_at(move.image, 0.86), "o", color="black", markersize=9)
        axis.text(0, -0.35, "found" if move.found else "lost", ha="center", fontsize=10)
        axis.text(0, -0.62, f"gap {move.gap:.0f} degrees", ha="center", fontsize=9)
        axis.set_title(name, fontsize=10)
        axis.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
        axis.set_aspect("equal")
        axis.axis("off")
    return figure


def say(moves: Mapping[str, Move]) -> str:
    """Say in words what `rings` draws.

    Shapes   {name: Move}.
    Units    degrees.
    Returns  one sentence.
    Raises   nothing.
    Source   ours.
    """
    parts = [f"{n} leaves {m.gap:.0f} degrees, {'found' if m.found else 'lost'}" for n, m in moves.items()]
    return "The picture, its captions and those of others on a circle. " + "; ".join(parts) + "."


def spreads(found: Mapping[str, Tensor], *, xlabel: str, alone: Sequence[str] = ()):
    """Draw for each name the middle nine tenths, the middle half and the median of many numbers.

    Shapes   every tensor of any length.
    Units    those of the caller.
    Returns  a matplotlib figure; the names in `alone` get another colour and mark.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=0.8 + 0.42 * len(found))
    for place, (name, many) in enumerate(found.items()):
        kind = int(name in alone)
        low, first, middle, third, high = np.quantile(np.asarray(many, float), (0.05, 0.25, 0.5, 0.75, 0.95))
        axis.plot([low, high], [place, place], color=COLOURS[kind], linewidth=1.5)
        axis.plot([first, third], [place, place], color=COLOURS[kind], linewidth=6, solid_capstyle="butt")
        axis.plot(middle, place, MARKERS[kind], color="white", markeredgecolor="black", markersize=7)
    axis.set_yticks(range(len(found)), list(found), fontsize=9)
    axis.set(xlabel=xlabel, xlim=(0, None))
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    return figure


def medians(found: Mapping[str, Tensor], unit: str = "degrees") -> str:
    """Say in words the medians that `spreads` draws.

    Shapes   as `spreads`.
    Units    those of the caller, named by `unit`.
    Returns  one sentence.
    Raises   nothing.
    Source   ours.
    """
    parts = [f"{name} {float(np.median(np.asarray(many))):.0f}" for name, many in found.items()]
    return f"Medians in {unit}: " + ", ".join(parts) + "."


def _at(angle: float, radius: float = 1.0) -> tuple[float, float]:
    turn = np.deg2rad(angle)
    return radius * float(np.sin(turn)), radius * float(np.cos(turn))
