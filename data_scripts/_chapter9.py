"""Parts of the studies of the chapter on smoothing: rows of certificates, savings, attacks, what papers said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom
from torch import Tensor, nn

from medadv.certify.bounds import certified_radius
from medadv.certify.curves import average_certified_radius, certified_accuracy, compare_accuracy, compare_radius
from medadv.certify.sequential import group_sequential
from medadv.certify.smooth import certify
from medadv.course.ch09 import helpers, toy
from medadv.evaluate.intervals import Estimate, bootstrap, wilson

RADII = (0.0, 0.25, 0.5, 1.0)
"""In units of sigma."""


def certificate_rows(name: str, log: pd.DataFrame, sigma: float) -> list[dict[str, Any]]:
    """Describe a log: how often it abstains, its curve, its mean radius."""
    away, n = int((log["predict"] < 0).sum()), len(log)
    rows = [{"subject": name, "metric": "abstained", "estimate": wilson(away, n)}]
    for r in RADII:
        cell = certified_accuracy(log, radii=(r * sigma,)).iloc[0]
        made = Estimate(float(cell.accuracy), float(cell.low), float(cell.high), n, method="wilson")
        rows.append({"subject": name, "metric": metric(r), "estimate": made})
    mean = average_certified_radius(log)
    made = Estimate(mean.value / sigma, mean.low / sigma, mean.high / sigma, n, method="normal")
    return [*rows, {"subject": name, "metric": "mean radius in sigma", "estimate": made}]


def metric(r: float) -> str:
    """Name certified accuracy at a radius."""
    return f"certified accuracy at {r:g} sigma"


def paired_rows(name: str, first: pd.DataFrame, second: pd.DataFrame, sigma: float) -> list[dict[str, Any]]:
    """Compare two logs of the same images at every radius, second minus first."""
    rows = []
    for r in RADII:
        made = compare_accuracy(first, second, radius=r * sigma)
        found = Estimate(made.difference, made.low, made.high, made.n, method="adjusted Wald, paired")
        rows.append({"subject": name, "metric": metric(r), "estimate": found})
    return rows


def radius_gain(first: pd.DataFrame, second: pd.DataFrame, sigma: float) -> Estimate:
    """Estimate the gain in mean radius, in sigma, second minus first."""
    made = compare_radius(first, second)
    return Estimate(made.difference / sigma, made.low / sigma, made.high / sigma, made.n, method="normal, paired")


def balanced_rows(name: str, log: pd.DataFrame, sigma: float, *, seed: int) -> list[dict[str, Any]]:
    """Count certified accuracy per class and average over the classes."""
    label, rows = log["label"].to_numpy(), []
    for r in RADII:
        right = (log["correct"].to_numpy(bool) & (log["radius"].to_numpy() >= r * sigma)).astype(float)
        made = bootstrap(
            lambda hit, y: float(np.mean([hit[y == k].mean() for k in np.unique(y)])),
            *(right, label),
            stratify=label,
            seed=seed,
        )
        rows.append({"subject": name, "metric": f"balanced {metric(r)}", "estimate": made})
    return rows


def constant_log(label: Tensor, commonest: int, reach: float) -> pd.DataFrame:
    """Make the log of a classifier that always says the commonest class: certified as far as votes reach."""
    rows = [{"idx": i, "label": y, "predict": commonest, "radius": reach} for i, y in enumerate(label.tolist())]
    return pd.DataFrame(rows).assign(correct=lambda log: log["predict"] == log["label"])


def sequential_rows(share: np.ndarray, *, seed: int, n: int = 10_000, streams: int = 5) -> list[dict[str, Any]]:
    """Say what planned looks save on images with these probabilities, and how often they decide as one look does."""
    paths = [toy.streams(p, n, many=streams, seed=seed + i) for i, p in enumerate(share)]
    rows = []
    for r in (0.25, 0.5, 1.0, 2.0):
        rule = group_sequential(r, sigma=1.0, n=n)
        mean = helpers.worth(rule, share)["draws"].to_numpy()
        saved = bootstrap(lambda draws: n / float(draws.mean()), mean, seed=seed)
        rows.append({"subject": f"planned looks, n {n}", "metric": f"votes saved at {r:g} sigma", "estimate": saved})
        looks = np.asarray(rule.looks) - 1
        counts = np.stack([one[:, looks] for one in paths]).reshape(-1, len(looks))
        whole = np.asarray(certified_radius(counts[:, -1], n, sigma=1.0)) >= r
        same = (rule.judge(counts).certified == whole).reshape(len(share), streams).mean(1)
        agree = bootstrap(lambda one: float(one.mean()), same, seed=seed)
        rows.append({"subject": f"planned looks, n {n}", "metric": f"same verdict at {r:g} sigma", "estimate": agree})
    return rows


def loss_of_radius(log: pd.DataFrame, *, n: int = 10_000, few: int = 1000, seed: int = 0) -> Estimate:
    """Estimate which share of the mean radius is lost with fewer votes, if the shares of the log were the truth."""
    right = log["correct"].to_numpy(bool)
    means = []
    for votes in (few, n):
        count = np.arange(votes + 1)
        law = binom.pmf(count, votes, helpers.certainty(log)[:, None])
        means.append(np.where(right, law @ np.asarray(certified_radius(count, votes, sigma=1.0)), 0.0))
    return bootstrap(lambda a, b: 1 - float(a.sum() / b.sum()), *means, seed=seed)


def broken_rows(
    head: nn.Module, made: Any, image: Tensor, label: Tensor, *, sigma: float, std: float, most: int = 12
) -> Any:
    """Attack inside the radius, and inside the one that noise in normalised space would have claimed."""
    rows = [one for one in made if one.predicted == int(label[one.index]) and one.radius > 0.1 * sigma][:most]
    at = [one.index for one in rows]
    x, y, r = image[at], label[at], torch.tensor([one.radius for one in rows])
    found = {}
    for name, reach in {f"probe, noisy, sigma {sigma}": r, f"told as pixels, sigma {sigma}": r / std}.items():
        moved = helpers.ambush(head, x, y, reach, sigma=sigma)
        lost = int((helpers.turned_away(head, moved, y, sigma=sigma) < 0.01).sum())
        found[name] = wilson(lost, len(at))
    return found


def shared_equal(heads: Mapping[str, nn.Module], made: Any, image: Tensor, **plan: Any) -> tuple[int, int]:
    """Count certificates of heads that were certified together and are the same alone."""
    pairs = []
    for name, head in heads.items():
        together = [one for one in made if one.head == name][: len(image)]
        alone = certify(head, image, **plan)
        pairs += [(a.predicted, a.count, a.radius) == (b.predicted, b.count, b.radius) for a, b in zip(together, alone)]  # noqa: B905
    return sum(pairs), len(pairs)


def judged(paper: str, said: str, made: Estimate, *, within: tuple[float, float]) -> dict[str, Any]:
    """Compare an interval with the range that was fixed beforehand: inside it, across its edge, or outside."""
    low, high = within
    inside, apart = low <= made.low and made.high <= high, made.high < low or made.low > high
    verdict = "holds" if inside else "does not hold" if apart else "holds in part"
    numbers = {"measured": round(made.value, 4), "low": round(made.low, 4), "high": round(made.high, 4)}
    return {"paper": paper, "finding": said, **numbers, "verdict": verdict}
