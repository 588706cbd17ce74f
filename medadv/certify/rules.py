"""What a test of votes is: looks, critical counts, and the exact chance of every outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

from medadv.certify._door import whole

_NOTHING = 1e-30  # probabilities below it are dropped: over all looks they cannot add up to 1e-24


def operating(rule: StoppingRule, p: float, *, giving_up: bool = True) -> Operating:
    """Compute what a test does at a given probability, without a single simulated vote.

    Shapes   none.
    Units    probability; draws in votes.
    Returns  Operating(certified, draws): the chance to certify and the mean number of votes. At p = rule.p0 the first
             is the largest false-certificate rate; with giving_up=False that of a user who never gives up.
    Raises   ValueError for p outside [0, 1].
    Source   the recursion of Jennison and Turnbull 2000, section 12.1.
    """
    if not 0 <= p <= 1:
        raise ValueError(
            f"The 'p' parameter of operating must lie in [0, 1]; got {p}. It is the probability of one vote."
        )
    mass, low, seen, won, draws = np.ones(1), 0, 0, 0.0, 0.0
    for look, up, down in zip(rule.looks, rule.upper, rule.lower, strict=True):
        draws += (look - seen) * float(mass.sum())
        mass, low = grow(mass, low, look - seen, p)
        won += float(mass[max(0, up - low) :].sum())
        first = max(0, down + 1 - low) if giving_up else 0
        mass, low, seen = mass[first : max(0, up - low)], low + first, look
    return Operating(won, draws)


def check_path(path: Any, looks: tuple[int, ...], where: str) -> np.ndarray:
    """Refuse accumulated counts that no votes could give.

    Shapes   path (B, l), l from 1 to the number of looks.
    Units    counts.
    Returns  the counts as an int64 array.
    Raises   ValueError for a wrong shape, or counts that fall or grow by more than the votes between two looks.
    Source   none: bookkeeping.
    """
    counts = whole(path, "path", where)
    if counts.ndim != 2 or not 1 <= counts.shape[1] <= len(looks):
        raise ValueError(
            f"The 'path' parameter of {where} must be (B, looks so far), at most {len(looks)}; got {counts.shape}. "
            "Give one row for each image: its accumulated count at each look."
        )
    grown, drawn = np.diff(counts, axis=1, prepend=0), np.diff(np.asarray(looks[: counts.shape[1]]), prepend=0)
    if ((grown < 0) | (grown > drawn)).any():
        raise ValueError(
            f"The 'path' parameter of {where} must hold accumulated counts at the looks {looks}; a row grows by "
            "less than 0 or more than the votes drawn. Accumulate with cumsum."
        )
    return counts


def grow(mass: np.ndarray, low: int, draws: int, p: float) -> tuple[np.ndarray, int]:
    """Let a count grow by a number of votes: the step of the recursion.

    Shapes   mass (M,), the chance of each count low, low + 1, ...; the result's may be another M.
    Units    probability.
    Returns  (mass, low) after `draws` more votes, each for the class with probability p.
    Raises   nothing: callers have checked.
    Source   convolution with the binomial law. Counts with less than 1e-30 at either end are dropped.
    """
    step = binom.pmf(np.arange(draws + 1), draws, p)
    step, skipped = _trim(step)
    mass, before = _trim(mass)
    return np.convolve(mass, step), low + skipped + before


def _trim(mass: np.ndarray) -> tuple[np.ndarray, int]:
    some = np.flatnonzero(mass > _NOTHING)
    return (mass[some[0] : some[-1] + 1], int(some[0])) if len(some) else (np.zeros(1), 0)


def _first(hit: np.ndarray) -> np.ndarray:
    return np.where(hit.any(1), hit.argmax(1), np.inf)


class Operating(NamedTuple):
    """The chance to certify, and the mean number of votes."""

    certified: float
    draws: float


class Verdict(NamedTuple):
    """What the votes so far say of each image; arrays (B,)."""

    certified: np.ndarray
    """bool: certified at `radius`, which is valid at once, even where the test is not done."""
    radius: np.ndarray
    """Pixel units; 0 where nothing is certified."""
    done: np.ndarray
    """bool: no further vote changes the verdict."""
    draws: np.ndarray
    """Votes after which it was done, or all there are."""


@dataclass(frozen=True)
class StoppingRule:
    """A test of one radius: at look l certify from upper[l] votes on, give up at lower[l] or fewer, else draw on."""

    radius: float
    p0: float
    """Phi(radius / sigma): the probability that has to be exceeded."""
    looks: tuple[int, ...]
    upper: tuple[int, ...]
    """n + 1 where even n equal votes may not stop."""
    lower: tuple[int, ...]
    """-1 where there is no giving up; upper - 1 at the last look."""

    def judge(self, path: Any) -> Verdict:
        """Judge images by their votes so far: path (B, l), accumulated counts at the first l looks."""
        won, lost = self.stops(path)
        last = np.shape(path)[1] - 1
        certified = won < lost
        at = np.minimum(np.minimum(won, lost), last).astype(np.int64)
        return Verdict(certified, np.where(certified, self.radius, 0.0), np.isfinite(np.minimum(won, lost)),
                       np.asarray(self.looks)[at])  # fmt: skip

    def stops(self, path: Any) -> tuple[np.ndarray, np.ndarray]:
        """Tell at which look each image is first certified and first given up; inf for never, the earlier counts."""
        counts = check_path(path, self.looks, "judge")
        seen = counts.shape[1]
        return _first(counts >= np.asarray(self.upper[:seen])), _first(counts <= np.asarray(self.lower[:seen]))
