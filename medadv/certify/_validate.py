"""What every room of certification asks at its door: alpha, sigma, counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from medadv._labels import as_labels


def check_alpha(alpha: float, where: str) -> float:
    """A failure probability: above 0, below one half."""
    if not 0 < alpha < 0.5:
        raise ValueError(
            f"The 'alpha' parameter of {where} must lie strictly between 0 and 0.5; got {alpha}. "
            "It is the chance of a false certificate for one image; 0.001 is usual."
        )
    return float(alpha)


def check_sigma(sigma: float, where: str) -> float:
    """A noise level: positive and finite."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(
            f"The 'sigma' parameter of {where} must be positive; got {sigma}. "
            "It is the standard deviation of the noise in pixel units, 0.25 for example."
        )
    return float(sigma)


def check_radius(radius: float, where: str) -> float:
    """A radius somebody asks for: from 0 up."""
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(
            f"The 'radius' parameter of {where} must be 0 or more; got {radius}. It is an L2 distance in pixel units."
        )
    return float(radius)


def check_draws(n: int, where: str, name: str = "n") -> int:
    """A number of noisy copies: a whole number, one at least."""
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise ValueError(
            f"The '{name}' parameter of {where} must be a whole number from 1 up; got {n}. Draw some votes."
        )
    return int(n)


def check_counts(count: Any, n: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts and draws as integer arrays of one shape, 0 <= count <= n."""
    k, m = whole(count, "count", where), whole(n, "n", where)
    if (m < 1).any():
        raise ValueError(f"The 'n' parameter of {where} must be from 1 up; got {m.min()}. Draw some votes.")
    try:
        k, m = np.broadcast_arrays(k, m)
    except ValueError:
        raise ValueError(
            f"The 'count' parameter of {where} must fit n; got shapes {k.shape} and {m.shape}. "
            "Give one n for each count."
        ) from None
    if ((k < 0) | (k > m)).any():
        row = np.argmax((k < 0) | (k > m))
        raise ValueError(
            f"The 'count' parameter of {where} must be from 0 to n; got {k.flat[row]} of {m.flat[row]}. "
            "Count the votes of one class among the n."
        )
    return k, m


def whole(value: Any, name: str, where: str) -> np.ndarray:
    """An array of whole numbers, from a tensor, an array, a list or a number."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except ValueError:  # rows of different lengths
        array = np.asarray("rows of different lengths")
    if array.dtype == object and all(isinstance(one, Tensor) and one.ndim == 0 for one in array.flat):
        array = np.asarray([one.item() for one in array.flat])
    if not array.size:
        return array.astype(np.int64)
    odd = np.ones(array.shape, bool) if array.dtype.kind not in "iuf" else ~np.isfinite(array) | (array != array // 1)
    if odd.any():
        raise ValueError(
            f"The '{name}' parameter of {where} must hold whole numbers; got {array[odd].flat[0]!s:.40}. "
            "Give counts of votes."
        )
    return array.astype(np.int64)


def classes_of(labels: Any, images: int, where: str) -> list[int] | None:
    """The classes of images as ints; None where nothing is known."""
    return None if labels is None else as_labels(labels, images, where, name="labels").tolist()
