"""Smoothing in worlds that can be worked out: a plane with a spike, and votes whose probability is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.stats import binom, norm
from torch import Tensor

from medadv.certify.bounds import critical_count, lower_bound
from medadv.certify.sequential import StoppingRule, operating


def plane(*, spike: float = 0.0, reach: float = 3.0, points: int = 601) -> Plane:
    """Make a classifier that says sick right of zero, and, with a spike, on a thin strip far to the left too.

    Shapes   points x points.
    Units    spike is the width of the strip; the square reaches from -reach to reach.
    Returns  Plane. The strip is a weakness as attacks find them: near many points, and next to nothing in volume.
    Raises   ValueError for a negative spike.
    Source   ours.
    """
    if spike < 0:
        raise ValueError(f"The 'spike' parameter of plane must be 0 or more; got {spike}. It is a width.")
    axis = np.linspace(-reach, reach, points)
    x, y = axis[None, :], axis[:, None]
    return Plane(axis, (x > 0) | ((np.abs(y) < spike / 2) & (x > -1.2)))


def smooth(base: Plane, sigma: float) -> np.ndarray:
    """Compute at every point how likely its noisy copies are called sick.

    Shapes   result (M, M).
    Units    sigma in coordinates.
    Returns  probabilities. Beyond the square the picture goes on as at its rim.
    Raises   nothing.
    Source   the definition of randomized smoothing, Cohen et al. 2019, arXiv 1902.02918, as a convolution.
    """
    return gaussian_filter(base.sick.astype(float), sigma / base.step, mode="nearest", truncate=6.0)


def certified(p: np.ndarray, sigma: float) -> np.ndarray:
    """Compute the radius that the theorem grants at every point, the probabilities being known.

    Shapes   p (M, M); result the same.
    Units    coordinates.
    Returns  sigma * z(probability of the likelier class), at most 5.2 sigma: the convolution is not exact beyond.
    Raises   nothing.
    Source   Cohen et al. 2019, theorem 1.
    """
    return sigma * norm.ppf(np.clip(np.maximum(p, 1 - p), 0.5, 1 - 1e-7))


def distance(says: np.ndarray, base: Plane) -> np.ndarray:
    """Measure how far every point is from the nearest one of the other class.

    Shapes   says (M, M) bool; result the same.
    Units    coordinates, to about one step of the grid.
    Returns  distances; infinite where there is no other class.
    Raises   nothing.
    Source   the Euclidean distance transform of scipy.
    """
    if says.all() or not says.any():
        return np.full(says.shape, np.inf)
    return base.step * np.where(says, distance_transform_edt(says), distance_transform_edt(~says))


def linear_head(weight: Tensor, bias: float) -> Callable[[Tensor], Tensor]:
    """Make a classifier of two classes with a flat boundary in pixels.

    Shapes   weight (D,); the head maps pixels (B, ...) of D numbers to logits (B, 2).
    Units    the distance of x to the boundary is |weight @ x + bias| / norm(weight).
    Returns  function of pixels.
    Raises   nothing.
    Source   ours.
    """

    def head(image: Tensor) -> Tensor:
        score = image.flatten(1) @ weight + bias
        return torch.stack([-score, score], 1)

    return head


def overstated(n: int, p: float, *, alpha: float = 0.001, bound: str = "exact") -> float:
    """Compute how often a lower bound from n votes lies above the truth: it should be alpha of the time at most.

    Shapes   none.
    Units    a probability, exact: the sum over all counts.
    Returns  float. bound: "exact" (Clopper-Pearson), "normal" (share minus z standard errors), "share" (the share).
    Raises   KeyError for another bound.
    Source   the binomial law.
    """
    k = np.arange(n + 1)
    share = k / n
    low = {
        "exact": lambda: np.asarray(lower_bound(k, n, alpha=alpha)),
        "normal": lambda: share - norm.isf(alpha) * np.sqrt(share * (1 - share) / n),
        "share": lambda: share,
    }[bound]()
    return float(binom.pmf(k, n, p)[low > p + 1e-12].sum())


def peeking(looks: Sequence[int], *, p0: float = 0.5, alpha: float = 0.001) -> float:
    """Compute how often somebody certifies falsely who looks several times and stops at the first success.

    Shapes   looks: increasing numbers of votes.
    Units    a probability, exact; alpha is what a single look would cost.
    Returns  the chance, for an image at p0, of ever passing the test made for one look.
    Raises   ValueError for no looks.
    Source   the recursion of Jennison and Turnbull 2000, section 12.1, through medadv.certify.sequential.
    """
    if not len(looks):
        raise ValueError("The 'looks' parameter of peeking must hold a number of votes; got none. Look once at least.")
    upper = tuple(critical_count(look, p=p0, alpha=alpha) for look in looks)
    rule = StoppingRule(0.0, p0, tuple(looks), upper, (-1,) * len(looks))
    return operating(rule, p0, giving_up=False).certified


def same_votes(n: int, *, alpha: float = 0.001) -> tuple[float, float]:
    """Compute what it costs to let the certifying votes choose the class, for an image between two classes.

    Shapes   none.
    Units    probabilities, exact.
    Returns  (fresh, same): the chance of a false certificate if the class was chosen on other votes, or on these.
    Raises   ValueError for n < 1.
    Source   ours; each of the two classes may win, so the error doubles.
    """
    fresh = float(binom.sf(critical_count(n, alpha=alpha) - 1, n, 0.5))
    return fresh, 2 * fresh


def streams(p: float, n: int, *, many: int = 200, seed: int = 0) -> np.ndarray:
    """Draw streams of votes of known probability.

    Shapes   result (many, n): the count after each vote.
    Units    counts.
    Returns  int64; stream i hangs on (seed, i) alone.
    Raises   nothing.
    Source   ours.
    """
    votes = [np.random.default_rng((seed, i)).random(n) < p for i in range(many)]
    return np.cumsum(np.stack(votes), axis=1)


def ever_passed(paths: np.ndarray, looks: Sequence[int], *, p0: float = 0.5, alpha: float = 0.001) -> np.ndarray:
    """Tell which streams pass the test made for one look at any of several looks.

    Shapes   paths (B, n) counts; result (B,).
    Units    none.
    Returns  bool array.
    Raises   nothing.
    Source   ours.
    """
    upper = np.array([critical_count(look, p=p0, alpha=alpha) for look in looks])
    return np.asarray((paths[:, np.asarray(looks) - 1] >= upper).any(1))


def stretched(distance: float, *, sigma: float, std: float) -> float:
    """Compute the radius that noise in normalised space claims for a flat boundary, told as though in pixels.

    Shapes   none.
    Units    distance in pixel units; sigma as set, but in units of the normalised image.
    Returns  sigma * z(p) with the probability p that a normalised image gives: distance / std.
    Raises   nothing.
    Source   ours; normalised = (pixel - mean) / std, so the boundary lies distance / std away there.
    """
    return float(sigma * norm.ppf(norm.cdf(distance / (sigma * std))))


@dataclass(frozen=True)
class Plane:
    """A classifier of two classes on a square of the plane, written down point by point."""

    axis: np.ndarray
    """(M,) coordinates of rows and columns."""
    sick: np.ndarray
    """(M, M) bool, first index y: where the base classifier says sick."""

    @property
    def step(self) -> float:
        """Distance of two neighbouring points."""
        return float(self.axis[1] - self.axis[0])
