"""What the notebooks of the chapter on PromptSmooth compute and would be too long to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from medadv.certify.noise_stream import Noise
from medadv.certify.records import Certificate
from medadv.certify.soundness import Strike
from medadv.certify.votes import encode, guarantee_of
from medadv.course.claims import Stored
from medadv.evaluate.intervals import wilson


def movement(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Measure how far the class embeddings moved, and how much of it all classes did alike.

    Shapes   both (K, D).
    Units    mean L2 length of the K moves; a share of the squared length.
    Returns  (length, common): a move that all classes make alike adds the same number to all logits and changes no
             answer, so only 1 - common can matter.
    Raises   nothing.
    Source   ours.
    """
    change = (after - before).detach().double()
    alike = change.mean(0)
    return float(change.norm(dim=1).mean()), float(len(change) * alike.square().sum() / change.square().sum())


def views(head: Any, image: Tensor, *, sigma: float, name: int | str = 0, seed: int = 0) -> Tensor:
    """Embed the noisy copies on which a head that tunes itself would do so.

    Shapes   image (3, H, W); result (T, D), T the head's views.
    Units    image in [0, 1], sigma in pixel units.
    Returns  embeddings.
    Raises   whatever the model raises.
    Source   the role adapt, as `certify` draws it.
    """
    noise = Noise(seed, name, sigma, "adapt", tuple(image.shape))
    return encode(head.vlm, image, noise, 0, head.views)


def stretched(certificates: Sequence[Certificate], factor: float) -> list[Certificate]:
    """Make certificates claim too much, so that an audit has something to find.

    Shapes   none.
    Units    factor multiplies the radius.
    Returns  copies.
    Raises   nothing.
    Source   ours.
    """
    return [replace(one, radius=factor * one.radius) for one in certificates]


def tally(strikes: Sequence[Strike]) -> pd.DataFrame:
    """Count the certificates that an attack inside their radius broke.

    Shapes   one row for each head.
    Units    share with its Wilson interval, 95 %.
    Returns  DataFrame with subject, guarantee, attacked, broken, value, low and high.
    Raises   nothing.
    Source   ours.
    """
    rows = []
    for head in dict.fromkeys(one.certificate.head for one in strikes):
        own = [one for one in strikes if one.certificate.head == head]
        share = wilson(sum(one.broken for one in own), len(own))
        rows.append({"subject": head, "guarantee": own[0].certificate.guarantee, "attacked": len(own),
                     "broken": sum(one.broken for one in own), "value": share.value, "low": share.low,
                     "high": share.high})  # fmt: skip
    return pd.DataFrame(rows)


def grounds(heads: dict[str, Any]) -> pd.DataFrame:
    """List heads with what their certificates rest on and the noise they were fitted on.

    Shapes   one row for each head.
    Units    none.
    Returns  DataFrame with head, guarantee and fitted on.
    Raises   nothing.
    Source   medadv.certify.votes.
    """
    rows = []
    for name, head in heads.items():
        seen = ", ".join(f"{one.role} noise of seed {one.seed}" for one in map(_named, getattr(head, "streams", ())))
        rows.append({"head": name, "guarantee": guarantee_of(head), "fitted on": seen or "nothing"})
    return pd.DataFrame(rows)


def wide(result: Stored, *metrics: str, against: str | None = None) -> Stored:
    """Show a stored table with one line for each head, its guarantee beside its name.

    Shapes   as Stored.pick; one column for each metric.
    Units    those of the table.
    Returns  a Stored that keeps the origin.
    Raises   KeyError if nothing fits.
    Source   ours.
    """
    lines: dict[str, dict[str, Any]] = {}
    for row in result.pick(*metrics, against=against):
        line = lines.setdefault(row["subject"], {"subject": row["subject"], "guarantee": row["guarantee"]})
        line |= {row["metric"]: row["value"], f"{row['metric']}_low": row["low"], f"{row['metric']}_high": row["high"]}
        if against:
            line[f"p, {row['metric']}"] = row["p"] or None
    title = str(result.data.get("title", result.path)) + (f": minus {against}, same images" if against else "")
    return Stored({**result.data, "rows": list(lines.values()), "title": title}, result.path)


def along(
    head: Any, image: Tensor, moved: Tensor, label: int, *, sigma: float, where: Sequence[float], n: int, name: int = 0
) -> dict[str, list[float]]:
    """Vote along the line from an image to another one, with the prompt of the first and with each point's own.

    Shapes   images (3, H, W); as many shares as there are points.
    Units    where: 0 is the first image, 1 the other one; sigma in pixel units.
    Returns  {"prompt of x": shares of the votes for the class, "prompt of x'": the same}, on noise of the role audit.
    Raises   whatever the model raises.
    Source   ours.
    """
    first = head.at(views(head, image, sigma=sigma, name=name))
    noise = Noise(0, name, sigma, "audit", tuple(image.shape))
    found: dict[str, list[float]] = {"prompt of x": [], "prompt of x'": []}
    for t in where:
        point = image + t * (moved - image)
        seen = encode(head.vlm, point, noise, 0, n)
        for key, voter in zip(found, (first, head.at(views(head, point, sigma=sigma, name=name))), strict=True):
            with torch.no_grad():
                found[key].append(float((voter.from_features(seen).argmax(1) == label).float().mean()))
    return found


def _named(stream: Any) -> Any:
    from medadv.certify.noise_stream import Stream

    return Stream(*stream)
