"""Drawings of the chapter on PromptSmooth; each returns a matplotlib figure for `figures`, or a finished Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from medadv.course.ch10 import toy
from medadv.course.figures import COLOURS, MARKERS, Figure, axes
from medadv.reports.certification import CONDITIONAL
from medadv.reports.html.certification import curves

_KINDS = ("fixed", "random-base", "composed", "routed", CONDITIONAL)
_STEPS = {
    "what is certified": (
        "image x",
        "prompt tuned\non copies of x",
        "attacker\nmoves x to x'",
        "same prompt\nvotes on x'",
    ),
    "what is in use": (
        "image x",
        "attacker\nmoves x to x'",
        "prompt tuned\non copies of x'",
        "other prompt\nvotes on x'",
    ),
}


def order():
    """Draw who acts when: in the certified story, and in the one that happens.

    Shapes   two rows of four boxes.
    Units    none.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.6, height=2.5)
    axis.set(xlim=(-0.75, 4.05), ylim=(-0.55, 1.55))
    axis.axis("off")
    for row, (story, boxes) in zip((1, 0), _STEPS.items(), strict=True):
        axis.text(-0.7, row, story.replace("is ", "is\n"), va="center", fontsize=10, weight="bold")
        for k, words in enumerate(boxes):
            kind = 1 if "attacker" in words else 2 if "tuned" in words else 0
            edge = COLOURS[kind] if kind else "#5b5b5b"
            style = {
                "boxstyle": "round,pad=0.4",
                "facecolor": "white",
                "edgecolor": edge,
                "linewidth": 2.0 if kind else 1,
            }
            axis.text(0.5 + k, row, words, ha="center", va="center", fontsize=9, bbox=style)
            if k:
                tip = {"arrowstyle": "->", "color": "#333333"}
                axis.annotate("", (0.5 + k - 0.40, row), (k - 0.5 + 0.40, row), arrowprops=tip)
    return figure


def stepping(*, step: float, sigma: float, at: float):
    """Draw the one-dimensional system: its votes left, its certified accuracy as claimed and as it is right.

    Shapes   none.
    Units    coordinates.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, (votes, far) = axes(columns=2, width=7.6, height=3.2)
    x = np.linspace(-1.6, 1.6, 641)
    shares = {
        "never moved": (toy.frozen(x, at=at, step=0.0, sigma=sigma), "#8a8a8a", ":"),
        f"frozen at {at:g}": (toy.frozen(x, at=at, step=step, sigma=sigma), COLOURS[1], "--"),
        "moved at every x": (toy.deployed(x, step=step, sigma=sigma), COLOURS[0], "-"),
    }
    for name, (share, colour, dash) in shares.items():
        if name.startswith("moved"):  # the jump is a jump, not a line
            share = np.where(np.abs(x) < 1e-9, np.nan, share)
        votes.plot(x, share, dash, color=colour, label=name)
    votes.axhline(0.5, color="#333333", linewidth=0.8)
    votes.plot([at], toy.frozen([at], at=at, step=step, sigma=sigma), "o", color=COLOURS[1], markersize=8)
    reach = at + step
    votes.annotate("", (at - reach, 0.06), (at, 0.06), arrowprops={"arrowstyle": "->", "color": COLOURS[1], "lw": 2})
    votes.annotate("", (0, 0.16), (at, 0.16), arrowprops={"arrowstyle": "->", "color": COLOURS[0], "lw": 2})
    votes.text(at + 0.05, 0.06, "claimed", color=COLOURS[1], va="center", fontsize=9)
    votes.text(at + 0.05, 0.16, "true", color=COLOURS[0], va="center", fontsize=9)
    votes.set(xlabel="x", ylabel="share of votes for class 1", ylim=(0, 1.02))
    votes.legend(fontsize=8, frameon=False, loc="upper left")
    r = np.linspace(0, 2, 201)
    promised, true = toy.accuracy(r, step=step)
    far.plot(r, promised, "--", color=COLOURS[1], label="claimed, threshold frozen at x")
    far.plot(r, true, "-", color=COLOURS[0], label="true, system in use")
    far.fill_between(r, true, promised, color=COLOURS[1], alpha=0.15)
    far.set(xlabel="radius", ylabel="certified accuracy", ylim=(0, 1))
    far.legend(fontsize=8, frameon=False)
    return figure


def stories(distance: Sequence[float], shares: Mapping[str, Sequence[float]], *, marks: Mapping[str, float]):
    """Draw the votes for one class along a line from an image, and mark some radii on it.

    Shapes   distance P values; every line P shares.
    Units    L2, pixel units; marks are radii.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=3.0)
    for s, (name, values) in enumerate(shares.items()):
        axis.plot(distance, values, MARKERS[s] + ("--", "-")[s % 2], color=COLOURS[1 - s], label=name)
    for s, (name, r) in enumerate(marks.items()):
        axis.axvline(r, color="#333333", linestyle=(":", "-.")[s % 2], linewidth=1.4, label=name)
    axis.axhline(0.5, color="#333333", linewidth=0.8)
    axis.set(ylim=(0, 1), xlabel="L2 distance from x", ylabel="share of votes for the class")
    axis.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def certified(log: pd.DataFrame, *, alt: str, caption: str = "") -> Figure:
    """Draw certified accuracy over the radius with what each certificate rests on, as the reports of `medadv` do.

    Shapes   one row of the log for each image and head.
    Units    radius in pixel units.
    Returns  a Figure; certificates of a prompt frozen at the image are dashed.
    Raises   ValueError for an empty log.
    Source   medadv.reports.html.certification.curves.
    """
    drawn = curves(log).replace("Certified accuracy over the radius, one line for each head.", escape(alt, quote=True))
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Figure(f'<figure class="mv-figure" style="margin:1em 0">{drawn}{said}</figure>', alt)


def intervals(rows: Sequence[dict], *, xlabel: str, zero: float | None = 0.0, limits: tuple | None = None):
    """Draw estimates with their intervals, one line each; colour and mark say what the certificate rests on.

    Shapes   rows with the keys subject, guarantee, value, low and high.
    Units    those of the values.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.6, height=1.1 + 0.27 * len(rows))
    seen: set[str] = set()
    for place, row in enumerate(reversed(rows)):
        kind = _KINDS.index(row["guarantee"] or "fixed")
        colour, mark = COLOURS[(0, 4, 2, 5, 1)[kind]], MARKERS[kind]
        dash = "--" if row["guarantee"] == CONDITIONAL else "-"
        axis.plot([row["low"], row["high"]], [place, place], dash, color=colour, linewidth=1.6)
        label = None if row["guarantee"] in seen or not row["guarantee"] else row["guarantee"]
        axis.plot(row["value"], place, mark, color=colour, markersize=6, label=label)
        seen.add(row["guarantee"])
    if zero is not None:
        axis.axvline(zero, color="#333333", linewidth=1.0)
    axis.set_yticks(range(len(rows)), [row["subject"] for row in reversed(rows)], fontsize=9)
    axis.set(xlabel=xlabel, **({"xlim": limits} if limits else {}))
    figure.legend(loc="outside upper right", ncols=3, fontsize=9, frameon=False)
    return figure
