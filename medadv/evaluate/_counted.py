"""Metrics as functions of counts: how often each row is in a resample. One matrix product does a thousand
resamples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Counts of rows (r, B) to values (r,)."""


def accuracy(output: np.ndarray, label: np.ndarray) -> Statistic:
    """Share of rows whose largest output is the label's."""
    right = (predicted(output) == label).astype(float)
    return lambda counts: counts @ right / counts.sum(1)


def balanced_accuracy(output: np.ndarray, label: np.ndarray) -> Statistic:
    """Mean over the classes of the share that is right; classes absent from a resample are left out."""
    member = (label[:, None] == np.unique(label)).astype(float)
    right = member * (predicted(output) == label)[:, None]

    def of(counts):
        many = counts @ member
        share = np.divide(counts @ right, many, out=np.zeros_like(many), where=many > 0)
        return share.sum(1) / (many > 0).sum(1)

    return of


def macro_auc(output: np.ndarray, label: np.ndarray) -> Statistic:
    """Mean over the classes of the area under the curve, one class against the rest."""
    against = _against_rest(output.astype(np.float64))
    parts = [auc(against[:, k], label == k) for k in range(output.shape[1])]
    return lambda counts: np.mean([part(counts) for part in parts], axis=0)


def auc(score: np.ndarray, positive: np.ndarray) -> Statistic:
    """Area under the curve of one score; NaN where a resample holds one class only."""
    order = np.argsort(score, kind="stable")
    # Equal scores form one step of the curve: half of their pairs count.
    ordered = score[order]
    step = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # infinite scores tie too
    yes = positive[order].astype(float)

    def of(counts):
        counts = counts[:, order]
        hits, misses = (
            np.add.reduceat(counts * yes, step, axis=1),
            np.add.reduceat(counts * (1 - yes), step, axis=1),
        )
        below = np.cumsum(misses, axis=1) - misses / 2
        pairs = hits.sum(1) * misses.sum(1)
        area = (hits * below).sum(1)
        return np.divide(area, pairs, out=np.full(len(area), np.nan), where=pairs > 0)

    return of


STATISTICS = {"accuracy": accuracy, "balanced accuracy": balanced_accuracy, "macro AUC": macro_auc}
"""Metrics that can be resampled all at once: (output, label) to a function of counts."""


def _against_rest(output: np.ndarray) -> np.ndarray:
    # Rank by the softmax, not by the raw logit: write log p - log (1 - p), which does not saturate where p is
    # 1 in floating point.
    if (output >= 0).all() and np.allclose(output.sum(1), 1, atol=1e-4):
        return output
    rest = np.full_like(output, -np.inf)
    for k in range(output.shape[1]):
        rest[:, k] = np.logaddexp.reduce(np.delete(output, k, axis=1), axis=1)
    return output - rest


def predicted(output: np.ndarray) -> np.ndarray:
    """Class numbers (B,) from outputs (B, K), or the numbers themselves."""
    return output.argmax(1) if output.ndim == 2 else output
