"""What a log of certificates says: certified accuracy, the average radius, and who is better on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom, binomtest, norm

from medadv.certify._validate import check_draws
from medadv.certify.bounds import high_probability_correction


def certified_accuracy(
    log: pd.DataFrame,
    *,
    radii: Sequence[float] = (0.0, 0.25, 0.5, 1.0),
    strict: bool = False,
    alpha: float | None = None,
    rho: float = 0.001,
    level: float = 0.95,
) -> pd.DataFrame:
    """Count how many of all images are right with a certified radius of at least r; abstaining is wrong.

    Shapes   radii (J,); the result has one row for each.
    Units    radii in pixel units; proportions.
    Returns  DataFrame with radius, accuracy, low and high (Wilson), n; with alpha also at_least, Cohen's lower end for
             the true certified accuracy, which holds for the whole test set with chance 1 - rho. strict counts
             radii above r (PromptSmooth), else r or more (Cohen).
    Raises   ValueError for an image that is there twice.
    Source   Cohen et al. 2019, section 4 and appendix.
    """
    log = _once(log, "certified_accuracy")
    n, rows = len(log), []
    for one in radii:
        right = int(_right(log, one, strict).sum())
        low, high = binomtest(right, n).proportion_ci(level, method="wilson")
        rows.append({"radius": float(one), "accuracy": right / n, "low": low, "high": high, "n": n})
        if alpha is not None:
            rows[-1]["at_least"] = max(0.0, right / n - high_probability_correction(n, alpha=alpha, rho=rho))
    return pd.DataFrame(rows)


def average_certified_radius(log: pd.DataFrame, *, level: float = 0.95) -> Average:
    """Average the certified radius over all images, wrong and abstained ones counted as 0 (ACR).

    Shapes   none.
    Units    pixel units.
    Returns  Average; `value` over all images, `of_correct` over the correct ones only (nan if there are none).
    Raises   ValueError for an image that is there twice.
    Source   Zhai et al. 2020 (MACER), arXiv 2001.02378: over all images. The normal interval speaks of new images.
    """
    log = _once(log, "average_certified_radius")
    radius = _radius(log)
    half = _half(radius, level)
    right = log["correct"].to_numpy(bool)
    of_correct = float(radius[right].mean()) if right.any() else float("nan")
    return Average(float(radius.mean()), float(radius.mean() - half), float(radius.mean() + half), len(log), of_correct)


def compare_accuracy(
    first: pd.DataFrame, second: pd.DataFrame, *, radius: float = 0.0, strict: bool = False, level: float = 0.95
) -> Paired:
    """Compare the certified accuracy of two logs of the same images, image by image.

    Shapes   two logs with the same idx and label.
    Units    radius in pixel units; a difference of proportions, second minus first.
    Returns  Paired: the adjusted Wald interval, McNemar's exact p-value, and how many images only one gets right.
    Raises   ValueError if the images or their labels differ, or one is there twice.
    Source   McNemar 1947; Bonett and Price 2012 for the interval.
    """
    first, second = _matched(first, second, "compare_accuracy")
    a, b = _right(first, radius, strict), _right(second, radius, strict)
    n, lost, gained = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)  # one image more on either side, or no discordance is certainty
    half = float(norm.ppf(0.5 + level / 2)) * ((p + q - (p - q) ** 2) / (n + 2)) ** 0.5
    pvalue = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Paired((gained - lost) / n, max(-1.0, p - q - half), min(1.0, p - q + half), pvalue, gained, lost, n)


def compare_radius(first: pd.DataFrame, second: pd.DataFrame, *, level: float = 0.95) -> Paired:
    """Compare the average certified radius of two logs of the same images, image by image.

    Shapes   two logs with the same idx and label.
    Units    pixel units, second minus first.
    Returns  Paired: normal interval and p-value of the mean difference, and for how many images each is larger.
    Raises   ValueError if the images or their labels differ, or one is there twice.
    Source   the paired z test; both logs share the images, so what they have in common cancels.
    """
    first, second = _matched(first, second, "compare_radius")
    change = _radius(second) - _radius(first)
    mean, half = float(change.mean()), _half(change, level)
    error = half / float(norm.ppf(0.5 + level / 2))
    pvalue = float(2 * norm.sf(abs(mean) / error)) if error else float(mean == 0)
    return Paired(mean, mean - half, mean + half, pvalue, int((change > 0).sum()), int((change < 0).sum()), len(change))


def paired_power(images: int, *, difference: float, discordance: float, level: float = 0.95) -> float:
    """Say how often McNemar's exact test would see a difference in certified accuracy: ask before you certify.

    Shapes   none.
    Units    proportions: difference of the two accuracies; discordance, images that only one of the two gets right.
    Returns  the chance of a p-value of 1 - level or less.
    Raises   ValueError for no images, or unless |difference| <= discordance <= 1.
    Source   the law of the discordant count, then the exact test for each of its values.
    """
    images = check_draws(images, "paired_power", "images")
    if not (0 < discordance <= 1 and abs(difference) <= discordance and 0 < level < 1):
        raise ValueError(
            f"The 'difference' parameter of paired_power must not exceed the discordance, which is at most 1; got "
            f"{difference} and {discordance}. 0.1 of discordance holds at most 0.1 of difference."
        )
    pairs = np.arange(images + 1)
    # The largest count c that is still too small for chance: both tails together must not exceed 1 - level.
    edge = binom.ppf((1 - level) / 2, pairs, 0.5).astype(int)
    edge = np.where(2 * binom.cdf(edge, pairs, 0.5) <= 1 - level, edge, edge - 1)
    share = (discordance + abs(difference)) / (2 * discordance)
    seen = binom.cdf(edge, pairs, share) + binom.sf(pairs - edge - 1, pairs, share)
    return float((binom.pmf(pairs, images, discordance) * np.where(edge >= 0, seen, 0.0)).sum())


def _right(log: pd.DataFrame, radius: float, strict: bool) -> np.ndarray:
    enough = log["radius"] > radius if strict else log["radius"] >= radius
    return (log["correct"].astype(bool) & enough).to_numpy(bool)


def _radius(log: pd.DataFrame) -> np.ndarray:
    return np.where(log["correct"], log["radius"], 0.0).astype(float)


def _half(values: np.ndarray, level: float) -> float:
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("inf")
    return float(norm.ppf(0.5 + level / 2)) * spread / len(values) ** 0.5


def _once(log: pd.DataFrame, where: str) -> pd.DataFrame:
    if not len(log):
        raise ValueError(f"The 'log' parameter of {where} must hold certificates; got none. Certify some images first.")
    if log["idx"].duplicated().any():
        twice = log["idx"][log["idx"].duplicated()].iloc[0]
        raise ValueError(
            f"The 'log' parameter of {where} must hold each image once; image {twice} is there again. "
            "Choose one head and one sigma: log[log['head'] == ...]."
        )
    return log


def _matched(first: pd.DataFrame, second: pd.DataFrame, where: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    first, second = (_once(log, where).sort_values("idx", ignore_index=True) for log in (first, second))
    for name in ("idx", "label"):
        if first[name].tolist() != second[name].tolist():
            raise ValueError(
                f"The logs of {where} must be of the same images; their {name} differs. "
                "Certify both on one list, or keep the images they share."
            )
    return first, second


class Average(NamedTuple):
    """A mean radius with its interval."""

    value: float
    low: float
    high: float
    n: int
    of_correct: float


class Paired(NamedTuple):
    """Second minus first, on the same images."""

    difference: float
    low: float
    high: float
    pvalue: float
    gained: int
    """Images where only the second is right, or where its radius is larger."""
    lost: int
    n: int
