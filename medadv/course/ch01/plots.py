"""Drawings of the first chapter; each returns a matplotlib figure or pixels for `figures`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medadv.course.figures import COLOURS, MARKERS, axes
from medadv.data.pairs import Pairs
from medadv.evaluate.metrics import confusion


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


def confusions(output: Tensor, pairs: Pairs):
    """Draw for each modality which finding was taken for which; a last column counts answers from elsewhere.

    Shapes   output (N, K), one row for each image.
    Units    percent of the images of the true class.
    Returns  a matplotlib figure of six panels.
    Raises   whatever matplotlib raises.
    Source   ours.
    """
    counts = confusion(output, pairs.labels, classes=len(pairs.classes))
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    figure, panels = axes(rows=2, columns=3, width=7.6, height=5.6)
    domains = np.array(pairs.domains)
    for axis, name in zip(panels.flat, dict.fromkeys(pairs.domains), strict=False):
        mine = domains == name
        cells = np.column_stack([share[mine][:, mine], share[mine][:, ~mine].sum(1)])
        short = [c.split("/")[-1] for c in np.array(pairs.classes)[mine]]
        axis.imshow(cells, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (r, c), value in np.ndenumerate(cells):
            axis.text(
                c, r, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if value > 60 else "black"
            )
        axis.set_xticks(range(len(short) + 1), [*short, "elsewhere"], rotation=40, ha="right", fontsize=8)
        axis.set_yticks(range(len(short)), short, fontsize=8)
        axis.set_title(name, fontsize=10)
        axis.grid(False)
    return figure


def diagonal(output: Tensor, pairs: Pairs) -> str:
    """Say in words what the diagonals of `confusions` show.

    Shapes   output (N, K), one row for each image.
    Units    percent.
    Returns  one sentence.
    Raises   nothing.
    Source   ours.
    """
    counts = confusion(output, pairs.labels, classes=len(pairs.classes))
    share = 100 * counts.diagonal() / counts.sum(1).clip(1)
    return ", ".join(f"{name} {value:.0f}" for name, value in zip(pairs.classes, share, strict=True)) + "."


def strip(images: Tensor, *, gap: int = 2) -> Tensor:
    """Put images side by side on white.

    Shapes   images (B, 3, H, W); result (3, H, B * W + (B - 1) * gap).
    Units    [0, 1].
    Returns  pixels.
    Raises   nothing.
    Source   ours.
    """
    white = torch.ones(3, images.shape[2], gap)
    parts = [part for image in images for part in (image, white)]
    return torch.cat(parts[:-1], dim=2)


def in_colour(feature: Tensor) -> Tensor:
    """Turn a feature map into a picture: its three strongest directions as red, green and blue.

    Shapes   feature (C, h, w); result (3, h, w).
    Units    each colour runs from its smallest to its largest value.
    Returns  pixels; the sign of a direction is fixed so that it is the same everywhere.
    Raises   nothing.
    Source   principal components; a usual way to look at vision transformers.
    """
    flat = feature.flatten(1).T.double()
    flat = flat - flat.mean(0)
    _, _, direction = torch.linalg.svd(flat, full_matrices=False)
    score = flat @ direction[:3].T
    score = score * score.gather(0, score.abs().argmax(0, keepdim=True)).sign()
    low, high = score.amin(0), score.amax(0)
    return ((score - low) / (high - low).clamp_min(1e-12)).T.reshape(3, *feature.shape[1:]).float()
