"""How sure we are of a number: Wilson for independent yes-or-no items, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

_BLOCK = 4_000_000  # counts held at a time: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. `f"{estimate:.3f}"` chooses the digits, `float(estimate)` is the number
    alone."""

    value: float
    low: float
    high: float
    n: int
    """Items it was counted over."""
    level: float = 0.95
    method: str = ""

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}] (n {self.n})"

    def __repr__(self) -> str:
        return f"{self:.2f}"


def wilson(k: int, n: int, *, level: float = 0.95) -> Estimate:
    """Estimate a proportion from k hits among n independent items.

    Shapes   none.
    Units    a proportion in [0, 1].
    Returns  Estimate; for n = 0 the value is nan and the interval is all of [0, 1].
    Raises   ValueError unless 0 <= k <= n.
    Source   Wilson 1927, score interval without continuity correction.
    """
    if not 0 <= k <= n:
        raise ValueError(f"The 'k' parameter of wilson must be from 0 to n; got k = {k}, n = {n}. Count hits first.")
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, level, "wilson")
    z = float(norm.ppf(0.5 + level / 2))
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    # At k = 0 and k = n the end is exactly 0 or 1; rounding must not push it inside.
    low, high = (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)
    return Estimate(p, low, high, int(n), level, "wilson")


def resamples(
    size: int,
    *,
    groups: ArrayLike | None = None,
    stratify: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples as counts: how often each row is in each resample.

    Shapes   groups, stratify (size,); every block (r, size), n rows of counts in all.
    Units    counts.
    Returns  iterator of int arrays; with `groups` (patients) all rows of one group come and go together, with
             `stratify` each stratum keeps its number of rows (of groups).
    Raises   ValueError if a group lies in two strata or a length does not fit.
    Source   Efron and Tibshirani 1993, chapters 6 and 8.
    """
    unit = np.arange(size) if groups is None else np.unique(_column(groups, size, "groups"), return_inverse=True)[1]
    units = int(unit.max()) + 1 if size else 0
    stratum = np.zeros(units, dtype=np.int64)
    if stratify is not None:
        of_row = np.unique(_column(stratify, size, "stratify"), return_inverse=True)[1]
        stratum[unit] = of_row
        if (stratum[unit] != of_row).any():
            raise ValueError(
                "The 'stratify' parameter of bootstrap must be the same for all rows of a group; got a "
                "group in two strata. "
                "Stratify by something that belongs to the patient, or leave it out."
            )
    members = [np.flatnonzero(stratum == s) for s in range(int(stratum.max()) + 1 if units else 0)]
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(size, 1))
    for start in range(0, n, block):
        times = min(block, n - start)
        drawn = np.zeros((times, units), dtype=np.int64)
        for rows in members:
            many = len(rows)
            drawn[:, rows] = _count(rng.integers(many, size=(times, many)), many)
        yield drawn[:, unit]


def bootstrap(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    groups: ArrayLike | None = None,
    stratify: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Estimate any statistic of rows with a percentile bootstrap interval.

    Shapes   every array (B, ...); groups, stratify (B,).
    Units    those of the statistic.
    Returns  Estimate; resamples where the statistic is nan (a class is missing) are left out of the interval.
    Raises   ValueError if the arrays differ in length.
    Source   Efron and Tibshirani 1993, section 13.3; with `groups` the cluster bootstrap of Davison and
             Hinkley 1997, 3.8.
    """
    columns = [np.asarray(array) for array in arrays]
    size = len(columns[0]) if columns else 0
    for column in columns:
        _column(column, size, "arrays")
    if size == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, level, "bootstrap")
    rows = np.arange(size)
    draws = [
        statistic(*(column[np.repeat(rows, counts)] for column in columns))
        for block in resamples(size, groups=groups, stratify=stratify, n=n, seed=seed)
        for counts in block
    ]
    return _percentile(float(statistic(*columns)), np.asarray(draws, dtype=float), size, level, groups)


def weighted(
    statistic: Callable[[np.ndarray], np.ndarray],
    size: int,
    *,
    groups: ArrayLike | None = None,
    stratify: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Do what `bootstrap` does, for a statistic that takes counts of rows and so does all resamples at once.

    Shapes   statistic maps counts (r, B) to values (r,).
    Units    those of the statistic.
    Returns  Estimate, the same as `bootstrap` gives with the same seed, some hundred times faster.
    Raises   ValueError as `resamples`.
    Source   ours.
    """
    if size == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, level, "bootstrap")
    blocks = resamples(size, groups=groups, stratify=stratify, n=n, seed=seed)
    draws = np.concatenate([statistic(block) for block in blocks])
    return _percentile(float(statistic(np.ones((1, size)))[0]), draws, size, level, groups)


def _percentile(value: float, draws: np.ndarray, size: int, level: float, groups) -> Estimate:
    known = draws[~np.isnan(draws)]
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) and not np.isnan(value) else (np.nan, np.nan)
    method = f"bootstrap, {len(draws)} resamples" + ("" if groups is None else f" of {len(np.unique(groups))} groups")
    return Estimate(value, float(low), float(high), size, level, method)


def _count(pick: np.ndarray, many: int) -> np.ndarray:
    times = len(pick)
    flat = (pick + many * np.arange(times)[:, None]).ravel()
    return np.bincount(flat, minlength=times * many).reshape(times, many)


def _column(values: ArrayLike, size: int, name: str) -> np.ndarray:
    column = np.asarray(values)
    if column.ndim == 0 or len(column) != size:
        got = "a single value" if column.ndim == 0 else f"{len(column)} rows"
        raise ValueError(
            f"The '{name}' parameter of bootstrap must be of {size} rows; got {got}. Pass one row per item."
        )
    return column
