"""From logits before and after to the rows of a report: robust accuracy and all that belongs beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from medadv.evaluate import _counted
from medadv.evaluate.intervals import Estimate, weighted, wilson
from medadv.evaluate.metrics import accuracy, balanced_accuracy, macro_auc, paired_difference

CLEAN = ("none", "none")
"""Threat and attack of the rows without an attacker."""
WORST = "worst"
SAVED = ", 8-bit"
"""Ends the name of an attack whose images were rounded to 8 bits and scored again."""


@dataclass(frozen=True)
class Scored:
    """All outputs of one study, one row for each image."""

    label: np.ndarray
    clean: np.ndarray
    """(N, K) logits of the images as they are."""
    under: dict[tuple[str, str], np.ndarray]
    """Threat and attack to the logits (N, K) of what the attack found."""
    size: dict[tuple[str, str], np.ndarray]
    """Threat and attack to how far each image was moved (N,), in the norm of the threat."""
    cost: dict[tuple[str, str], np.ndarray]
    """Threat and attack to (N, 3): forwards, backwards and seconds of an image, the mean of its batch."""
    batch: np.ndarray
    """(N,) number of the batch."""
    patients: np.ndarray | None = None
    """(N,) where patients have several images."""
    target: int | None = None
    to_the_end: bool = False
    """Whether the attacks went on after an image was fooled."""
    common: dict[str, Any] = field(default_factory=dict)
    """n and seed of the resamples."""


def without_repairs(scored: Scored) -> Scored:
    """Let the clean image count where a found point is right and the clean one wrong: an attacker may change nothing.

    So an image is right under an attack only if it is right without one too.
    """
    wrong = _counted.predicted(scored.clean) != scored.label
    repaired = {key: wrong & (_counted.predicted(output) == scored.label) for key, output in scored.under.items()}
    under = {key: np.where(rows[:, None], scored.clean, scored.under[key]) for key, rows in repaired.items()}
    size = {key: np.where(rows, 0.0, scored.size[key]) for key, rows in repaired.items()}
    return replace(scored, under=under, size=size)


def with_worst(scored: Scored) -> Scored:
    """Add to each threat that met several attacks the worst case over them, image by image."""
    scored = without_repairs(scored)
    under: dict[tuple[str, str], np.ndarray] = {}
    size: dict[tuple[str, str], np.ndarray] = {}
    cost: dict[tuple[str, str], np.ndarray] = {}
    for threat in dict.fromkeys(threat for threat, _ in scored.under):
        mine = [key for key in scored.under if key[0] == threat]
        for old, new in ((scored.under, under), (scored.size, size), (scored.cost, cost)):
            new |= {key: old[key] for key in mine}
        for end in ("", SAVED):
            some = [key for key in mine if key[1].endswith(SAVED) == bool(end)]
            if len(some) < 2:
                continue
            worst, row = (threat, WORST + end), np.arange(len(scored.label))
            pick = _hardest([scored.under[key] for key in some], scored)
            under[worst] = np.stack([scored.under[key] for key in some])[pick, row]
            size[worst] = np.stack([scored.size[key] for key in some])[pick, row]
            cost[worst] = np.sum([scored.cost[key] for key in some], axis=0)
    return replace(scored, under=under, size=size, cost=cost)


def rows_of(scored: Scored, classes: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Return the rows of a report: the clean ones first, then each threat and attack."""
    rows = [*_quality(CLEAN, [scored.clean], scored, classes, "accuracy")]
    for key, output in scored.under.items():
        hit, asked = _fooled(output, scored)
        rows += _quality(key, [output, scored.clean, *_behind(key, scored)], scored, classes, "robust accuracy")
        rows.append(_row("attack success rate", key, share(hit[asked], _part(scored.patients, asked), scored.common)))
        change = paired_difference(
            "accuracy", scored.clean, output, scored.label, groups=scored.patients, **scored.common
        )
        rows.append(_row("change of accuracy", key, _not_certain(change, scored)))
        rows.append(_row("mean size", key, _mean(scored.size[key], scored.patients, scored.common)))
        largest = float(scored.size[key].max(initial=0))
        rows.append(
            _row("largest size", key, Estimate(largest, math.nan, math.nan, len(output), method="largest seen"))
        )
        for place, name in enumerate(("forwards", "backwards", "seconds")):
            # All images of a batch share its cost, so batches are resampled; one batch alone tells no spread.
            found = _mean(scored.cost[key][:, place], scored.batch, scored.common)
            rows.append(_row(f"{name} per image", key, found))
    return tuple(rows)


def share(hit: np.ndarray, groups: np.ndarray | None, common: dict[str, Any]) -> Estimate:
    """Estimate a share: Wilson for independent images, patients resampled as a whole where there are several."""
    return accuracy(hit.astype(np.int64), np.ones(len(hit), dtype=np.int64), groups=groups, **common)


def _behind(key: tuple[str, str], scored: Scored) -> list[np.ndarray]:
    """The outputs that a worst case was taken from; nothing for an attack."""
    threat, name = key
    if name.removesuffix(SAVED) != WORST:
        return []
    saved = name.endswith(SAVED)
    return [output for (of, by), output in scored.under.items() if of == threat and by.endswith(SAVED) == saved]


def _quality(
    key: tuple[str, str], outputs: list[np.ndarray], scored: Scored, classes: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Rows of one attack. The first of the outputs says who is right; a class is spared if none of them calls it."""
    label, who, common, output = scored.label, scored.patients, scored.common, outputs[0]
    calls = [_counted.predicted(one) for one in outputs]
    rows = [
        _row(name, key, accuracy(output, label, groups=who, **common)),
        _row("balanced accuracy", key, balanced_accuracy(output, label, groups=who, **common)),
    ]
    # An attack that stops at the first wrong answer leaves the order of scores nearly as it was: its area flatters.
    if key == CLEAN or scored.to_the_end:
        area = macro_auc(output, label, groups=who, **common)
        if not math.isnan(area.value):  # a class without images has none
            rows.append(_row("macro AUC", key, area))
    for k, called in enumerate(classes):
        mine = label == k
        if not mine.any():
            continue
        named = np.any([said == k for said in calls], axis=0)
        found = share(calls[0][mine] == k, _part(who, mine), common)
        spared = share(~named[~mine], _part(who, ~mine), common)
        rows.append({**_row("sensitivity", key, found), "class": called})
        rows.append({**_row("specificity", key, spared), "class": called})
    return rows


def _row(metric: str, key: tuple[str, str], estimate: Estimate) -> dict[str, Any]:
    return {"metric": metric, "threat": key[0], "attack": key[1], "class": "all", "estimate": estimate}


def _fooled(output: np.ndarray, scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Which images the attack fooled, and which of all count."""
    before, after = _counted.predicted(scored.clean), _counted.predicted(output)
    if scored.target is None:
        return after != scored.label, before == scored.label
    return after == scored.target, before != scored.target


def _hardest(outputs: list[np.ndarray], scored: Scored) -> np.ndarray:
    """For each image the number of the output that harmed it most: the aim reached, then a wrong answer, then harm.

    By harm alone a tie of logits could choose a right answer beside a wrong one.
    """
    reached, wrong, harm = [], [], []
    for output in reversed(outputs):  # of equal ones lexsort puts the last one last, which then is the first
        said = _counted.predicted(output)
        wrong.append(said != scored.label)
        reached.append(said == scored.target if scored.target is not None else wrong[-1])
        harm.append(_harm(output, scored))
    return len(outputs) - 1 - np.lexsort(np.stack([harm, wrong, reached]), axis=0)[-1]


def _harm(output: np.ndarray, scored: Scored) -> np.ndarray:
    """How far the attacker got: the margin of the best wrong class, or of the class wanted."""
    of = scored.label if scored.target is None else np.full(len(output), scored.target)
    row = np.arange(len(output))
    rest = output.copy()
    rest[row, of] = -np.inf
    lead = output[row, of] - rest.max(1)
    return -lead if scored.target is None else lead


def _mean(values: np.ndarray, groups: np.ndarray | None, common: dict[str, Any]) -> Estimate:
    found = weighted(lambda counts: counts @ values / counts.sum(1), len(values), groups=groups, **common)
    if groups is not None and len(np.unique(groups)) < 2:
        return Estimate(found.value, math.nan, math.nan, found.n, method="one batch")
    return found


def _not_certain(change: Estimate, scored: Scored) -> Estimate:
    """All images changed, or none did: the bootstrap would claim certainty; let the number of images say more."""
    if not (change.low == change.high == change.value and change.value in (0, -1)):
        return change
    many = change.n if scored.patients is None else len(np.unique(scored.patients))
    edge = wilson(many if change.value else 0, many)
    return Estimate(change.value, -edge.high, -edge.low, change.n, edge.level, f"wilson over {many}")


def _part(groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[rows]


def probability(output: np.ndarray) -> np.ndarray:
    """Softmax of logits (N, K)."""
    return torch.from_numpy(np.asarray(output, dtype=np.float64)).softmax(1).numpy()
