"""Drawings of the chapter on smoothing; each returns a matplotlib figure for `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medadv.certify.bounds import largest_radius, lower_bound
from medadv.certify.sequential import StoppingRule
from medadv.course.ch09.toy import Plane, certified, smooth
from medadv.course.figures import COLOURS, MARKERS, axes
from medadv.course.plots import lines


def cloud(base: Plane, sigma: float, points: Sequence[tuple[float, float]], *, seed: int = 0):
    """Draw a classifier of the plane, noisy copies of some points, and what is certified around each.

    Shapes   points: (x, y) each.
    Units    coordinates.
    Returns  a matplotlib figure: left the base classifier, right the smoothed one with a disc around each point.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, panels = axes(columns=2, width=7.4, height=3.3)
    p = smooth(base, sigma)
    radius, draw = certified(p, sigma), np.random.default_rng(seed)
    for axis, says, title in zip(panels, (base.sick, p > 0.5), ("one copy", "the vote of all copies"), strict=True):
        area = [base.axis[0], base.axis[-1]] * 2
        axis.imshow(says, origin="lower", extent=area, cmap="Blues", vmin=0, vmax=2.5, aspect="equal")
        axis.set(xlim=(-1.6, 1.0), ylim=(-1.2, 1.2), title=title, xlabel="pixel 1", ylabel="pixel 2")
        axis.grid(False)
    for k, (x, y) in enumerate(points):
        row, column = (int(np.abs(base.axis - c).argmin()) for c in (y, x))
        noise = sigma * draw.standard_normal((60, 2))
        panels[0].plot(x + noise[:, 0], y + noise[:, 1], ".", color=COLOURS[1 + k], markersize=3, alpha=0.6)
        turn, r = np.linspace(0, 2 * np.pi, 100), radius[row, column]
        panels[1].plot(x + r * np.cos(turn), y + r * np.sin(turn), color=COLOURS[1 + k], linewidth=1.5)
        for axis in panels:
            axis.plot(x, y, MARKERS[k], color=COLOURS[1 + k], markeredgecolor="white", markersize=8)
    return figure


def reach(n: Sequence[int], alphas: Sequence[float]):
    """Draw the largest radius that n votes can certify, whatever the model.

    Shapes   n V values.
    Units    radius in sigma.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    found = {f"alpha {a:g}": [largest_radius(m, sigma=1.0, alpha=a) for m in n] for a in alphas}
    return lines(n, found, xlabel="votes n, all equal", ylabel="largest radius, in sigma", log="x")


def accuracies(found: Mapping[str, pd.DataFrame], *, strict_top: float | None = None):
    """Draw curves of certified accuracy with their intervals.

    Shapes   {name: what `certified_accuracy` returned}.
    Units    radius in pixel units; strict_top marks the largest radius that the votes could reach.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=6.8, height=3.2)
    for s, (name, table) in enumerate(found.items()):
        axis.plot(table["radius"], table["accuracy"], "-", color=COLOURS[s], label=name)
        mark = slice(None, None, max(1, len(table) // 6))
        axis.plot(table["radius"][mark], table["accuracy"][mark], MARKERS[s], color=COLOURS[s])
        axis.fill_between(table["radius"], table["low"], table["high"], color=COLOURS[s], alpha=0.15)
    if strict_top is not None:
        axis.axvline(strict_top, color="#333333", linestyle=":", linewidth=1.2, label="reach of the votes")
    axis.set(ylim=(0, 1), xlabel="L2 radius, pixel units", ylabel="certified accuracy")
    axis.legend(fontsize=9, frameon=False)
    return figure


def say(found: Mapping[str, pd.DataFrame], radii: Sequence[float]) -> str:
    """Say in words what `accuracies` draws.

    Shapes   as accuracies.
    Units    percent at some of the radii that the tables hold.
    Returns  one sentence for each curve.
    Raises   nothing.
    Source   ours.
    """
    parts = []
    for name, table in found.items():
        near = [table.iloc[(table["radius"] - r).abs().argmin()] for r in radii]
        parts.append(f"{name}: " + ", ".join(f"{100 * row.accuracy:.0f} at {row.radius:.2f}" for row in near))
    return "Certified accuracy in percent. " + "; ".join(parts) + "."


def sizes(found: Mapping[str, float], *, radius: Mapping[str, float]):
    """Draw how large disturbances are, beside what can be certified.

    Shapes   {disturbance: mean L2 distance}; {what: radius}.
    Units    pixel units, on a logarithmic axis.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=0.9 + 0.28 * len(found))
    names = sorted(found, key=found.__getitem__)
    axis.hlines(range(len(names)), 1e-3, [found[k] for k in names], color="#b0b0b0", linewidth=1)
    axis.plot([found[k] for k in names], range(len(names)), "o", color=COLOURS[0])
    for s, (name, r) in enumerate(radius.items()):
        axis.axvline(r, color=COLOURS[1 + s], linestyle=("--", ":")[s % 2], linewidth=1.5, label=name)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_xscale("log")
    axis.set(xlim=(0.05, 30), xlabel="L2 distance, pixel units")
    figure.legend(loc="outside upper right", ncols=3, fontsize=9, frameon=False)
    return figure


def watched(paths: np.ndarray, looks: Sequence[int], *, alpha: float = 0.001, truth: float = 0.5):
    """Draw how the lower bound of some streams wanders, and where it wrongly rises above one half.

    Shapes   paths (B, n) counts.
    Units    probability.
    Returns  a matplotlib figure; streams that pass at some look are thick, each with a mark where it first does.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=3.0)
    votes = np.asarray(looks)
    bounds = np.asarray(lower_bound(paths[:, votes - 1], votes, alpha=alpha))
    lucky = np.asarray((bounds > truth).any(1))
    for row, good in zip(bounds, lucky, strict=True):
        axis.plot(votes, row, "-", color=COLOURS[1] if good else "#b0b0b0", linewidth=2.0 if good else 0.6)
        if good:
            first = int((row > truth).argmax())
            axis.plot(votes[first], row[first], "s", color=COLOURS[1], markersize=7)
    axis.axhline(truth, color="#333333", linestyle=":", linewidth=1.2)
    axis.set_xscale("log")
    axis.set(xlabel="votes so far", ylabel="lower bound at one look", ylim=(truth - 0.3, truth + 0.05))
    return figure


def corridor(rule: StoppingRule, paths: Mapping[str, np.ndarray]):
    """Draw the two edges of a test that may stop early, and some streams walking between them.

    Shapes   each path (n,) counts.
    Units    share of the votes so far.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=7.0, height=3.0)
    looks = np.asarray(rule.looks)
    up, down = np.asarray(rule.upper) / looks, np.asarray(rule.lower) / looks
    axis.plot(looks, np.minimum(up, 1.02), "^-", color=COLOURS[2], label="certify from here up")
    axis.plot(looks, np.maximum(down, 0), "v-", color=COLOURS[1], label="give up from here down")
    style: tuple[Any, ...] = ("-", "--", ":")
    for s, (name, path) in enumerate(paths.items()):
        counts = path[looks - 1]
        over = (counts >= np.asarray(rule.upper)) | (counts <= np.asarray(rule.lower))
        last = int(over.argmax()) + 1
        axis.plot(looks[:last], (counts / looks)[:last], style[s % 3], marker="o", color=COLOURS[0], label=name)
    axis.set_xscale("log")
    axis.set(xlabel="votes so far", ylabel="share for the class", ylim=(0.45, 1.03))
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="lower right")
    return figure
