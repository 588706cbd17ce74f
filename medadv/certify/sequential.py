"""Is this image certified at this radius? Tests that look at the votes while they come in, and may stop.

Looking often and stopping at the first success breaks a fixed-n bound (ten looks cost six times alpha). Here every
look has a critical count, and the chance of ever reaching one without deserving it is computed, not hoped for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import beta, binom, norm

from medadv.certify._validate import check_alpha, check_counts, check_draws, check_radius, check_sigma, whole
from medadv.certify.bounds import check_reachable, critical_count

_NOTHING = 1e-30  # probabilities below it are dropped: over all looks they cannot add up to 1e-24


def doubling_looks(n: int, *, first: int = 100, growth: float = 2.0) -> tuple[int, ...]:
    """Plan when to look: after `first` votes, then each time their number has grown by `growth`, last at n.

    Shapes   a row of at most log(n / first) / log(growth) + 2 counts.
    Units    votes drawn so far.
    Returns  increasing counts, the last one n.
    Raises   ValueError for n < 1, first < 1 or growth <= 1.
    Source   common practice; 100, 200, ..., 6400, 10000 for n = 10000.
    """
    n, first = check_draws(n, "doubling_looks"), check_draws(first, "doubling_looks", "first")
    if not growth > 1:
        raise ValueError(f"The 'growth' parameter of doubling_looks must be above 1; got {growth}. 2 doubles.")
    looks: list[int] = []
    while first < n:
        looks.append(first)
        first = max(first + 1, round(first * growth))
    return (*looks, n)


def fixed_test(radius: float, *, sigma: float, n: int = 10_000, alpha: float = 0.001) -> StoppingRule:
    """Test a radius with one look at all n votes: what CERTIFY does, asked for one radius.

    Shapes   none.
    Units    radius and sigma in pixel units; alpha per image.
    Returns  StoppingRule with one look.
    Raises   ValueError if n is too small for the radius (it says which n would do), and for a bad sigma or alpha.
    Source   Cohen et al. 2019, arXiv 1902.02918.
    """
    p0 = _checked_p0(radius, sigma, n, alpha, "fixed_test")
    last = critical_count(n, p=p0, alpha=alpha)
    return StoppingRule(radius, p0, (n,), (last,), (last - 1,))


def group_sequential(
    radius: float,
    *,
    sigma: float,
    n: int = 10_000,
    alpha: float = 0.001,
    looks: tuple[int, ...] | None = None,
    spending: float = 1.0,
    futility: float = 0.01,
) -> StoppingRule:
    """Test a radius with few looks at growing votes, exactly at level alpha: mostly a tenth of the draws of one look.

    Shapes   none.
    Units    radius and sigma in pixel units; looks in votes so far; alpha per image, spent as (look / n)**spending;
             futility is the chance to give up an image on the edge, which n votes certify half of the time.
    Returns  StoppingRule; the critical counts come from the exact law of the count, not from a normal limit.
    Raises   ValueError if n is too small for the radius (it says which n would do), for looks that do not grow to n,
             and for a bad sigma, alpha, spending or futility.
    Source   Lan and DeMets 1983 (alpha spending), Jennison and Turnbull 2000, chapter 12 (binomial recursion). Giving
             up is not counted on when alpha is spent, so it can only make the test safer.
    """
    p0 = _checked_p0(radius, sigma, n, alpha, "group_sequential")
    looks = _check_looks(doubling_looks(n) if looks is None else looks, n, "group_sequential")
    if not (spending > 0 and math.isfinite(spending)):
        raise ValueError(f"The 'spending' parameter of group_sequential must be positive; got {spending}. 1 is linear.")
    upper = _critical_counts(p0, looks, tuple(alpha * (look / n) ** spending for look in looks))
    return StoppingRule(radius, p0, looks, upper, _hopeless_counts(p0, looks, upper, alpha, futility))


def anytime_test(
    radius: float,
    *,
    sigma: float,
    n: int = 10_000,
    alpha: float = 0.001,
    looks: tuple[int, ...] | None = None,
    prior: tuple[float, float] = (1.0, 1.0),
    futility: float = 0.01,
) -> StoppingRule:
    """Test a radius with a bet that may be looked at after any vote: no schedule has to be kept.

    Shapes   none.
    Units    radius and sigma in pixel units; looks in votes so far; prior: the two parameters of the beta law of bets.
    Returns  StoppingRule for these looks; other looks, even chosen while watching, keep the same level alpha.
    Raises   as group_sequential.
    Source   Ville 1939; Waudby-Smith and Ramdas 2024, arXiv 2010.09686, for votes: a beta mixture over p above the
             tested one. Differs from Voracek 2024, arXiv 2406.17830: one-sided, so the threshold is 1 / alpha.
    """
    p0 = _checked_p0(radius, sigma, n, alpha, "anytime_test")
    looks = _check_looks(doubling_looks(n) if looks is None else looks, n, "anytime_test")
    upper = tuple(_first_win(look, p0, alpha, prior) for look in looks)
    return StoppingRule(radius, p0, looks, upper, _hopeless_counts(p0, looks, upper, alpha, futility))


def anytime_bound(count: Any, n: Any, *, alpha: float = 0.001, prior: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Bound a probability from below at every number of votes at once: look as often as you like.

    Shapes   count, n: any shapes that broadcast, the result's shape.
    Units    probability; alpha is the chance that the truth is ever, at any n, below the bound.
    Returns  the p below count / n where the beta mixture of likelihood ratios is 1 / alpha; 0 at count 0.
    Raises   ValueError for a count outside 0..n, alpha outside (0, 0.5), or a prior that is not positive.
    Source   Ville 1939; Robbins 1970. The mixture runs over all p, so the bound is one end of a two-sided interval.
    """
    alpha, (a, b) = check_alpha(alpha, "anytime_bound"), _check_prior(prior)
    k, m = check_counts(count, n, "anytime_bound")
    target = betaln(a + k, b + m - k) - betaln(a, b) + math.log(alpha)
    low, high = np.zeros(k.shape), k / m
    for _ in range(60):  # the likelihood grows from 0 to its top at count / n: halve the interval to 1e-18
        middle = (low + high) / 2
        above = xlogy(k, middle) + xlog1py(m - k, -middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(k == 0, 0.0, low)


def log_evidence(count: Any, n: Any, *, p0: float, prior: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Weigh the votes against "the probability is p0 or less": the log of a bet that is fair there.

    Shapes   count, n: any shapes that broadcast, the result's shape.
    Units    nats; above ln(1 / alpha), whenever that happens, the claim is refuted at level alpha.
    Returns  float64 array.
    Raises   ValueError for p0 outside (0, 1), a prior that is not positive, or a count outside 0..n.
    Source   Ville's inequality for the likelihood ratio, mixed over a beta law cut off below p0: for each q > p0 the
             ratio has mean at most 1 wherever p <= p0.
    """
    a, b = _check_prior(prior)
    if not 0 < p0 < 1:
        raise ValueError(
            f"The 'p0' parameter of log_evidence must lie between 0 and 1; got {p0}. Use Phi(radius / sigma)."
        )
    k, m = check_counts(count, n, "log_evidence")
    after, before = beta.logsf(p0, a + k, b + m - k), beta.logsf(p0, a, b)
    ratio = betaln(a + k, b + m - k) - betaln(a, b) - k * math.log(p0) - (m - k) * math.log1p(-p0)
    return np.asarray(ratio + after - before)


@lru_cache(maxsize=256)
def _critical_counts(p0: float, looks: tuple[int, ...], spent: tuple[float, ...]) -> tuple[int, ...]:
    """The smallest counts such that, at p0, the chance of having reached one by look l is at most spent[l]."""
    upper, reached, seen = [], 0.0, 0
    mass, low = np.ones(1), 0
    for look, allowed in zip(looks, spent, strict=True):
        mass, low = grow(mass, low, look - seen, p0)
        tail = np.cumsum(mass[::-1])[::-1]  # the chance of low + i or more now, and of no success before
        cut = int(np.argmax(np.append(reached + tail, reached) <= allowed))
        reached += float(tail[cut]) if cut < len(tail) else 0.0
        upper.append(min(low + cut, look + 1))
        mass, seen = mass[:cut], look
    return tuple(upper)


@lru_cache(maxsize=256)
def _hopeless_counts(
    p0: float, looks: tuple[int, ...], upper: tuple[int, ...], alpha: float, futility: float
) -> tuple[int, ...]:
    """The largest counts such that an image on the edge is given up by look l with chance futility * look / n."""
    if not 0 <= futility < 1:
        raise ValueError(
            f"The 'futility' parameter must lie in [0, 1); got {futility}. 0.01 loses one edge case in 100."
        )
    n = looks[-1]
    edge = min(critical_count(n, p=p0, alpha=alpha) / n, 1.0)
    lower, lost, seen = [], 0.0, 0
    mass, low = np.ones(1), 0
    for look, up in zip(looks[:-1], upper, strict=False):
        mass, low = grow(mass, low, look - seen, edge)
        below = lost + np.cumsum(mass)
        cut = min(int(np.count_nonzero(below <= futility * look / n)), max(0, up - low))
        # All counts below `low` have no chance left, so they may be given up too, unless nobody gives up at all.
        lower.append(low + cut - 1 if futility else -1)
        lost = float(below[cut - 1]) if cut else lost
        mass, low, seen = mass[cut : max(0, up - low)], low + cut, look
    return (*lower, upper[-1] - 1)


@lru_cache(maxsize=4096)
def _first_win(n: int, p0: float, alpha: float, prior: tuple[float, float]) -> int:
    """The smallest count of n whose evidence reaches 1 / alpha; evidence grows with the count."""
    low, high = -1, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        won = log_evidence(middle, n, p0=p0, prior=prior) >= -math.log(alpha)
        low, high = (low, middle) if won else (middle, high)
    return high


def _check_prior(prior: tuple[float, float]) -> tuple[float, float]:
    if len(prior) != 2 or not all(0 < one < math.inf for one in prior):
        raise ValueError(f"The 'prior' parameter must be two positive numbers; got {prior}. (1, 1) bets evenly.")
    return prior


def _check_looks(looks: tuple[int, ...], n: int, where: str) -> tuple[int, ...]:
    looks = tuple(int(look) for look in looks)
    if not looks or looks[0] < 1 or looks[-1] != n or any(b <= a for a, b in pairwise(looks)):
        raise ValueError(f"The 'looks' parameter of {where} must grow from 1 or more to n = {n}; got {looks}. "
                         "Use doubling_looks(n).")  # fmt: skip
    return looks


def _checked_p0(radius: float, sigma: float, n: int, alpha: float, where: str) -> float:
    """Phi(radius / sigma), after every check."""
    radius, sigma = check_radius(radius, where), check_sigma(sigma, where)
    check_reachable(check_draws(n, where), radius=radius, sigma=sigma, alpha=check_alpha(alpha, where))
    return float(norm.cdf(radius / sigma))


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
