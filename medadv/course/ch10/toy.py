"""A classifier that steps back before it votes: one dimension, one boundary, everything exact.

The base classifier says class 1 above a threshold P. Before it votes on x it moves P from 0 by `step`, away from x:
P = -step * sign(x). That is what a step down the entropy does, and it is all that is needed to see what a certificate
of the moved threshold is worth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import norm
from torch import Tensor, nn

from medadv.certify.bounds import radius


def frozen(x: ArrayLike, *, at: float, step: float, sigma: float) -> np.ndarray:
    """Compute the share of votes for class 1 where the threshold was chosen at one point and stays there.

    Shapes   x (B,), the points that are voted on; result (B,).
    Units    coordinates; `at` is where the threshold was chosen.
    Returns  Phi((x - P) / sigma) with P = -step * sign(at).
    Raises   nothing.
    Source   ours, the smallest case of a prompt frozen at x.
    """
    return np.asarray(norm.cdf((np.asarray(x) + step * np.sign(at)) / sigma))


def deployed(x: ArrayLike, *, step: float, sigma: float, views: int | None = None) -> np.ndarray:
    """Compute the share of votes for class 1 where the threshold is chosen anew at every point.

    Shapes   x (B,); result (B,).
    Units    coordinates. views: the side of x is read off the mean of so many noisy copies; None knows x itself.
    Returns  shares; with views, the mean over the copies, as though every vote drew its own.
    Raises   nothing.
    Source   ours.
    """
    x = np.asarray(x, dtype=float)
    right = (np.sign(x) + 1) / 2 if views is None else norm.cdf(x * np.sqrt(views) / sigma)
    up, down = norm.cdf((x + step) / sigma), norm.cdf((x - step) / sigma)
    return np.asarray(right * up + (1 - right) * down)


def claimed(x: ArrayLike, *, step: float, sigma: float) -> np.ndarray:
    """Compute the radius that smoothing grants the threshold frozen at each point, all votes being known.

    Shapes   x (B,); result (B,).
    Units    coordinates.
    Returns  sigma * z(share of the likelier class): |x| + step.
    Raises   nothing.
    Source   Cohen et al. 2019, theorem 1.
    """
    x = np.abs(np.asarray(x, dtype=float))  # the two sides are mirror images
    return np.asarray(radius(frozen(x, at=1.0, step=step, sigma=sigma), sigma=sigma))


def turns_at(x: float, *, step: float, sigma: float, reach: float = 3.0, points: int = 6001) -> float:
    """Search how far from x the system that chooses its threshold anew first gives another answer.

    Shapes   none.
    Units    coordinates, to one step of the grid.
    Returns  the distance; infinite where there is none within `reach`.
    Raises   nothing.
    Source   ours, by looking everywhere.
    """
    where = x + np.linspace(-reach, reach, points)
    says = deployed(where, step=step, sigma=sigma) > 0.5
    other = says != (deployed([x], step=step, sigma=sigma) > 0.5)
    return float(np.abs(where - x)[other].min()) if other.any() else float("inf")


def steepness(x: ArrayLike, share: ArrayLike, *, sigma: float) -> float:
    """Measure how fast a share of votes changes, on the scale on which no smoothed classifier changes faster than 1.

    Shapes   x (B,) increasing; share (B,).
    Units    change of sigma * z(share) for each unit of distance.
    Returns  the steepest piece between neighbours.
    Raises   nothing.
    Source   Salman et al. 2019, arXiv 1906.04584, lemma 2: the slope of z(share) is at most 1 / sigma.
    """
    height = sigma * norm.ppf(np.clip(share, 1e-300, 1 - 1e-16))
    return float(np.max(np.abs(np.diff(height)) / np.diff(np.asarray(x, dtype=float))))


def accuracy(r: ArrayLike, *, step: float, mean: float = 0.6, sd: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Compute certified accuracy as claimed and as it is, for two classes of points on either side.

    Shapes   r (J,); both results (J,).
    Units    coordinates; class 1 is normal around `mean`, the other around -mean.
    Returns  (claimed, true): the share of points that are right and have |x| + step >= r, or |x| >= r.
    Raises   nothing.
    Source   ours; exact.
    """
    r = np.asarray(r, dtype=float)
    return tuple(np.asarray(norm.sf((np.maximum(far, 0) - mean) / sd)) for far in (r - step, r))  # type: ignore[return-value]


class Stepping(nn.Module):
    """The same system as a head for `certify`: one pixel, threshold in the middle, chosen on noisy copies of the image.

    Shapes   image (B, 1, 1, 1); at(embeddings (T, 1)) gives the head that votes.
    Units    step in pixel units, away from the side on which the mean of the copies lies; 0 is a fixed head.
    Returns  a head whose claimed radius is |x - 0.5| + step.
    Raises   nothing.
    Source   ours.
    """

    def __init__(self, step: float, *, views: int = 100, place: float = 0.5):
        super().__init__()
        self.step, self.views, self.place, self.vlm = step, views if step else 0, place, _Pixels()
        self.guarantee = "prompt-frozen-at-x" if step else "fixed"

    def at(self, feature: Tensor) -> Any:
        """Choose the threshold on noisy copies, and freeze it."""
        side = 1 if float(feature.mean()) > 0.5 else -1
        return Stepping(0.0, place=0.5 - side * self.step)

    def from_features(self, feature: Tensor) -> Tensor:
        """Map pixels (B, 1) to logits (B, 2)."""
        return torch.cat([self.place - feature, feature - self.place], 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 1, 1, 1) to logits (B, 2)."""
        return self.from_features(image.flatten(1))


class _Pixels(nn.Module):
    """The tower of a world of one pixel: the embedding is the pixel."""

    def encode_image(self, image: Tensor) -> Tensor:
        return image.flatten(1)
