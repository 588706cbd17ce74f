"""From votes to a radius: exact binomial bounds, what n votes can reach, and when to abstain.

Counts may be numbers, lists, numpy arrays or tensors; a tensor comes back as a tensor, in float64 on the CPU,
where statistics is done.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, binom, norm
from torch import Tensor

from medadv.certify._validate import check_alpha, check_counts, check_draws, check_radius, check_sigma, whole


def lower_bound(count: Any, n: Any, *, alpha: float = 0.001) -> Any:
    """Bound a probability from below, given how often it came true.

    Shapes   count, n: any shapes that broadcast, the result's shape.
    Units    probability; alpha is the chance, over the draws, that the truth lies below.
    Returns  the largest p with P(Binomial(n, p) >= count) <= alpha: 0 at count 0, alpha**(1/n) at count n.
    Raises   ValueError for a count outside 0..n, or alpha outside (0, 0.5).
    Source   Clopper and Pearson 1934; statsmodels' proportion_confint(count, n, 2 * alpha, "beta")[0].
    """
    alpha = check_alpha(alpha, "lower_bound")
    k, m = check_counts(count, n, "lower_bound")
    # The beta law has no parameter 0. At count n its quantile is alpha**(1/n), to the last bit, alone or among others.
    return _as_given(np.where(k == 0, 0.0, beta.ppf(alpha, np.maximum(k, 1), m - k + 1)), count, n)


def upper_bound(count: Any, n: Any, *, alpha: float = 0.001) -> Any:
    """Bound a probability from above, given how often it came true.

    Shapes   count, n: any shapes that broadcast, the result's shape.
    Units    probability; alpha is the chance, over the draws, that the truth lies above.
    Returns  the smallest p with P(Binomial(n, p) <= count) <= alpha: 1 at count n, 1 - alpha**(1/n) at count 0.
    Raises   ValueError for a count outside 0..n, or alpha outside (0, 0.5).
    Source   Clopper and Pearson 1934.
    """
    alpha = check_alpha(alpha, "upper_bound")
    k, m = check_counts(count, n, "upper_bound")
    return _as_given(np.where(k == m, 1.0, beta.isf(alpha, k + 1, np.maximum(m - k, 1))), count, n)


def radius(p: Any, *, sigma: float, other: Any = None) -> Any:
    """Turn the smoothed classifier's probability into the L2 radius inside which its answer cannot change.

    Shapes   p, other: any shapes that broadcast, the result's shape.
    Units    p is a lower bound on the winner's probability, other an upper bound on every other class's (1 - p where
             nothing is said); sigma and the radius in pixel units.
    Returns  sigma / 2 * (z(p) - z(other)), which is sigma * z(p) for other = 1 - p. Not above 0: abstain.
    Raises   ValueError for a sigma that is not positive, or a p outside [0, 1].
    Source   Cohen, Rosenfeld and Kolter 2019, theorem 1, arXiv 1902.02918.
    """
    sigma = check_sigma(sigma, "radius")
    first = _probability(p, "p")
    if other is None:
        return _as_given(sigma * norm.ppf(first), p)
    with np.errstate(invalid="ignore"):
        return _as_given(sigma / 2 * (norm.ppf(first) - norm.ppf(_probability(other, "other"))), p, other)


def certified_radius(count: Any, n: Any, *, sigma: float, alpha: float = 0.001) -> Any:
    """Say what radius n votes certify for the class that `count` of them named.

    Shapes   count, n: any shapes that broadcast, the result's shape.
    Units    sigma and the radius in pixel units; alpha per image.
    Returns  sigma * z(lower bound), 0 where the bound is below one half: abstain there.
    Raises   ValueError for a count outside 0..n, sigma <= 0, or alpha outside (0, 0.5).
    Source   Cohen et al. 2019, CERTIFY. The class must have been chosen on other draws.
    """
    check_sigma(sigma, "certified_radius")
    k, m = check_counts(count, n, "certified_radius")
    return _as_given(np.maximum(radius(lower_bound(k, m, alpha=alpha), sigma=sigma), 0.0), count, n)


def largest_radius(n: Any, *, sigma: float, alpha: float = 0.001) -> Any:
    """Say what radius n votes reach when all of them agree: no model gets further.

    Shapes   n: any shape, the result's shape.
    Units    sigma and the radius in pixel units.
    Returns  sigma * z(alpha**(1/n)), 0 where even n equal votes abstain.
    Raises   ValueError for n < 1, sigma <= 0, or alpha outside (0, 0.5).
    Source   Cohen et al. 2019, section 3.2.2.
    """
    return certified_radius(n, n, sigma=sigma, alpha=alpha)


def smallest_n(radius: float, *, sigma: float, alpha: float = 0.001) -> int:
    """Say how many votes, all equal, it takes to certify a radius: fewer cannot, whatever the model.

    Shapes   none.
    Units    radius and sigma in pixel units.
    Returns  the smallest n with Phi(radius / sigma)**n <= alpha.
    Raises   ValueError for a negative radius, sigma <= 0, or alpha outside (0, 0.5).
    Source   lower_bound at count n, solved for n.
    """
    each = norm.logcdf(check_radius(radius, "smallest_n") / check_sigma(sigma, "smallest_n"))
    need = math.log(check_alpha(alpha, "smallest_n")) / each
    return max(1, math.ceil(need * (1 - 1e-9)))  # a radius that n votes reach exactly must not ask for n + 1


def check_reachable(n: int, *, radius: float, sigma: float, alpha: float = 0.001) -> None:
    """Refuse a radius that n votes cannot certify, before any is drawn.

    Shapes   none.
    Units    radius and sigma in pixel units.
    Returns  nothing.
    Raises   ValueError that says which n would do and how far this one reaches.
    Source   smallest_n.
    """
    need = smallest_n(radius, sigma=sigma, alpha=alpha)
    if check_draws(n, "check_reachable") < need:
        reach = largest_radius(n, sigma=sigma, alpha=alpha)
        raise ValueError(
            f"The 'n' parameter of certification must be at least {need} to certify radius {radius:g} at sigma "
            f"{sigma:g} and alpha {alpha:g}; got {n}. Even {n} equal votes reach only {reach:.3f}: draw more, or ask "
            "for less."
        )


def critical_count(n: int, *, p: float = 0.5, alpha: float = 0.001) -> int:
    """Say how many of n votes a class needs before its probability is certified to be above p.

    Shapes   none.
    Units    counts; p is Phi(radius / sigma) for a radius, one half for not abstaining.
    Returns  the smallest k with P(Binomial(n, p) >= k) <= alpha; n + 1 if n votes cannot do it.
    Raises   ValueError for n < 1, p outside (0, 1), or alpha outside (0, 0.5).
    Source   the test whose inversion is lower_bound.
    """
    n, alpha = check_draws(n, "critical_count"), check_alpha(alpha, "critical_count")
    if not 0 < p < 1:
        raise ValueError(
            f"The 'p' parameter of critical_count must lie between 0 and 1; got {p}. Use Phi(radius / sigma)."
        )
    return int(binom.isf(alpha, n, p)) + 1


def vote_pvalue(first: Any, second: Any) -> Any:
    """Test whether the two classes with the most votes are equally likely.

    Shapes   first, second: counts, any shapes that broadcast, the result's shape.
    Units    probability.
    Returns  the two-sided binomial p-value at one half; 1 for no votes at all.
    Raises   ValueError for a negative count.
    Source   Hung and Fithian 2019: valid although the same votes chose the two classes.
    """
    a, b = np.broadcast_arrays(whole(first, "first", "vote_pvalue"), whole(second, "second", "vote_pvalue"))
    if (np.minimum(a, b) < 0).any():
        raise ValueError(f"The 'first' and 'second' parameters of vote_pvalue must be counts; got {first}, {second}.")
    return _as_given(np.minimum(1.0, 2 * binom.sf(np.maximum(a, b) - 1, a + b, 0.5)), first, second)


def predict_votes(votes: Any, *, alpha: float = 0.001) -> Any:
    """Name the smoothed classifier's answer from votes, or abstain.

    Shapes   votes (..., K) counts for each class, K at least 2; result (...).
    Units    counts; alpha is the chance of a wrong name, over the draws.
    Returns  int64: the class with the most votes, -1 where the runner-up is too near (vote_pvalue above alpha).
    Raises   ValueError for votes without classes, or alpha outside (0, 0.5).
    Source   Cohen et al. 2019, PREDICT.
    """
    alpha = check_alpha(alpha, "predict_votes")
    table = whole(votes, "votes", "predict_votes")
    if table.ndim == 0 or table.shape[-1] < 2:
        raise ValueError(
            f"The 'votes' parameter of predict_votes must be (..., K), K >= 2; got {table.shape}. Use bincount."
        )
    ordered = np.sort(table, axis=-1)
    sure = vote_pvalue(ordered[..., -1], ordered[..., -2]) <= alpha
    return _as_given(np.where(sure, table.argmax(axis=-1), -1), votes)


def high_probability_correction(images: int, *, alpha: float = 0.001, rho: float = 0.001) -> float:
    """Say what to subtract from a certified accuracy so that it holds for the whole test set at once.

    Shapes   none.
    Units    a proportion; rho is the chance that the corrected accuracy is still too high.
    Returns  alpha + sqrt(alpha (1 - alpha) ln(1/rho) / images) + ln(1/rho) / (3 images).
    Raises   ValueError for no images, or alpha or rho outside (0, 0.5).
    Source   Cohen et al. 2019, appendix: Bernstein's inequality on the number of false certificates.
    """
    where = "high_probability_correction"
    images, alpha = check_draws(images, where, "images"), check_alpha(alpha, where)
    if not 0 < rho < 0.5:
        raise ValueError(
            f"The 'rho' parameter of {where} must lie strictly between 0 and 0.5; got {rho}. 0.001 is usual."
        )
    rest = math.log(1 / rho)
    return alpha + math.sqrt(alpha * (1 - alpha) * rest / images) + rest / (3 * images)


def _probability(p: Any, name: str) -> np.ndarray:
    array = np.asarray(p.detach().cpu() if isinstance(p, Tensor) else p, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(
            f"The '{name}' parameter of radius must lie in [0, 1]; got {p}. Give probabilities, not counts."
        )
    return array


def _as_given(result: np.ndarray, *given: Any) -> Any:
    """A tensor for tensors, a number for numbers, else an array."""
    if any(isinstance(one, Tensor) for one in given):
        return torch.as_tensor(np.array(result))
    return result.item() if np.ndim(result) == 0 else np.asarray(result)
