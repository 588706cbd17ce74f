"""Drawings that several chapters share; each returns a matplotlib figure or pixels for `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from medadv.course.figures import COLOURS, MARKERS, axes
from medadv.evaluate.metrics import Estimate

_HATCHES = ("", "///", "...", "xx")


def bars(found: Mapping[str, Mapping[str, Estimate]], *, label: str = "accuracy", chance: float | None = None):
    """Draw estimates as lying bars with their intervals.

    Shapes   {row: {series: Estimate}}; every row has the same series.
    Units    proportions.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    series, rows = list(next(iter(found.values()))), list(found)
    figure, axis = axes(width=7.0, height=0.9 + 0.28 * len(rows) * max(len(series), 1.3))
    thick = 0.8 / len(series)
    for s, name in enumerate(series):
        many = [found[row][name] for row in rows]
        value = np.array([e.value for e in many])
        reach = np.abs(np.array([[e.value - e.low for e in many], [e.high - e.value for e in many]]))
        place = np.arange(len(rows)) + (s - (len(series) - 1) / 2) * thick
        style = {"color": COLOURS[s], "hatch": _HATCHES[s % 4], "edgecolor": "white", "linewidth": 0}
        axis.barh(place, value, thick * 0.9, xerr=reach, ecolor="#333333", capsize=2, label=name, **style)
    if chance is not None:
        axis.axvline(chance, color="#333333", linestyle=":", linewidth=1.2, label="chance")
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.set(xlim=(0, 1), xlabel=label)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    if len(series) > 1 or chance is not None:
        figure.legend(loc="outside upper right", ncols=4, fontsize=9, frameon=False)
    return figure


def curves(where: Sequence, found: Mapping[str, Sequence[Estimate]], *, xlabel: str, ylabel: str = "accuracy"):
    """Draw estimates against a quantity, with their intervals as bands.

    Shapes   where V values; every line V estimates.
    Units    proportions.
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=6.4, height=3.0)
    place = np.arange(len(where))
    for s, (name, many) in enumerate(found.items()):
        axis.plot(place, [e.value for e in many], MARKERS[s] + "-", color=COLOURS[s], label=name)
        axis.fill_between(place, [e.low for e in many], [e.high for e in many], color=COLOURS[s], alpha=0.2)
    axis.set_xticks(place, [str(w) for w in where])
    axis.set(ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)
    axis.legend(fontsize=9, frameon=False)
    return figure


def reading(pictures: Sequence[Tensor], titles: Sequence[str], logits: Tensor, classes: Sequence[str], *, true: int):
    """Draw pictures and, beside them, the three likeliest classes of the last one.

    Shapes   pictures (3, H, W) each; logits (K,).
    Units    bars are the softmax over the K classes.
    Returns  a matplotlib figure; the true class has a solid bar, wrong ones hatched bars.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    shares = [1.0] * len(pictures) + [1.5]
    figure, panels = axes(columns=len(shares), width=2.0 + 1.75 * len(shares), height=2.1, width_ratios=shares)
    for axis, picture, title in zip(panels, pictures, titles, strict=False):
        axis.imshow(np.asarray(picture).transpose(1, 2, 0), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    share, best = logits.detach().softmax(0).topk(3)
    axis = panels[-1]
    for place, (value, k) in enumerate(zip(share.tolist(), best.tolist(), strict=True)):
        style = {"color": COLOURS[0]} if k == true else {"color": COLOURS[1], "hatch": "///", "edgecolor": "white"}
        axis.barh(place, value, 0.45, **style)
        axis.text(0.0, place - 0.33, f"{classes[k]}  {100 * value:.0f} %", fontsize=9, va="center")
    axis.set(xlim=(0, 1), ylim=(2.5, -0.6), xticks=[], yticks=[])
    axis.grid(False)
    return figure


def read_aloud(logits: Tensor, classes: Sequence[str], *, true: int) -> str:
    """Say in words what `reading` draws.

    Shapes   logits (K,).
    Units    percent.
    Returns  one sentence.
    Raises   nothing.
    Source   ours.
    """
    share, k = logits.detach().softmax(0).max(0)
    verdict = "which is right" if int(k) == true else f"the truth being {classes[true]}"
    return f"The model says {classes[int(k)]} with {100 * float(share):.0f} percent, {verdict}."


def say(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Say in words what `bars` draws.

    Shapes   {row: {series: Estimate}}.
    Units    percent.
    Returns  one sentence for each series.
    Raises   nothing.
    Source   ours.
    """
    lines = []
    for name in next(iter(found.values())):
        values = ", ".join(f"{row} {100 * found[row][name].value:.0f}" for row in found)
        lines.append(f"{name[:1].upper() + name[1:]} in percent: {values}.")
    return " ".join(lines)


def amplified(adversarial: Tensor, image: Tensor, *, times: float = 10) -> Tensor:
    """Show a perturbation around mid-grey.

    Shapes   both (3, H, W); result the same.
    Units    the difference times `times` plus one half, cut to [0, 1].
    Returns  pixels.
    Raises   nothing.
    Source   ours.
    """
    return (0.5 + times * (adversarial - image)).clamp(0, 1)


def lines(where: Sequence, found: Mapping[str, Sequence], *, xlabel: str, ylabel: str, log: str = "", limits=None):
    """Draw plain lines.

    Shapes   where V values; every line V numbers.
    Units    log names the axes that are logarithmic: "x", "y" or "xy".
    Returns  a matplotlib figure.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    figure, axis = axes(width=6.6, height=3.0)
    for s, (name, values) in enumerate(found.items()):
        axis.plot(where, values, MARKERS[s] + "-", color=COLOURS[s], markersize=4, label=name)
    if "x" in log:
        axis.set_xscale("log")
    if "y" in log:
        axis.set_yscale("log")
    axis.set(xlabel=xlabel, ylabel=ylabel, **({"ylim": limits} if limits else {}))
    axis.legend(fontsize=9, frameon=False)
    return figure
