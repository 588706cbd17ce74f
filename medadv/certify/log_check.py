"""How could a published log lie? What its largest radius tells of alpha and n, and radii that no votes can give."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from medadv.certify._validate import check_alpha, check_draws, check_sigma
from medadv.certify.bounds import certified_radius, critical_count, largest_radius

USUAL = (0.1, 0.05, 0.025, 0.01, 0.005, 0.001, 0.0005, 0.0001, 0.00001)
"""Failure probabilities that logs are made with."""
MOST = 1_000_000_000
"""Votes up to which the radii of counts are worked out."""
DIGITS, DECIMALS = 3, 4
"""How published programs print radii: three significant digits, others to four decimals."""


def infer_alpha(log: pd.DataFrame, *, sigma: float, n: int, digits: int | None = None) -> Plateau | None:
    """Read alpha from the largest radius of a log: where all n votes agree it is sigma * z(alpha**(1/n)).

    Shapes   none.
    Units    sigma in pixel units; digits: significant digits the radii were printed with; where nothing is said three,
             or four decimals where these are fewer.
    Returns  Plateau with the alpha it implies and the range that rounding leaves; None unless three images share the
             largest radius. `confirmed` says that the next radius below it is that of n - 1 votes at this alpha.
    Raises   ValueError for sigma <= 0 or n < 1.
    Source   lower_bound at count n, solved for alpha.
    """
    sigma, n = check_sigma(sigma, "infer_alpha"), check_draws(n, "infer_alpha")
    digits = _check_digits(digits, "infer_alpha")
    radii = log["radius"].to_numpy(float)
    top = float(radii.max())
    rows = int((radii == top).sum())
    if rows < 3 or top <= 0:
        return None
    low, high = _printed(top, digits)
    alpha, least, most = (math.exp(n * float(norm.logcdf(r / sigma))) for r in (top, low, high))
    below = float(radii[radii < top].max(initial=0.0))
    ends = [float(certified_radius(n - 1, n, sigma=sigma, alpha=min(max(a, 1e-300), 0.49))) for a in (least, most)]
    next_low, next_high = _printed(below, digits)
    confirmed = below > 0 and next_low <= max(ends) and min(ends) <= next_high
    return Plateau(top, rows, alpha, least, most, confirmed)


def audit_log(log: pd.DataFrame, *, sigma: float, n: int, alpha: float = 0.001, digits: int | None = None) -> Audit:
    """Hold a log against the sigma, n and alpha it is said to come from, and warn of what does not fit.

    Shapes   one log of one noise level.
    Units    sigma in pixel units; digits as infer_alpha.
    Returns  Audit: sentences, none if all is well, the plateau, and which of the usual alphas would fit every radius
             where there is no plateau or something is wrong. Every sentence is also a warning.
    Raises   ValueError for a bad sigma, n, alpha or number of digits.
    Source   the exact radii of n votes; locuslab documents alpha 0.001, and most of its plateaus say 0.01.
    """
    sigma, n = check_sigma(sigma, "audit_log"), check_draws(n, "audit_log")
    alpha, digits = check_alpha(alpha, "audit_log"), _check_digits(digits, "audit_log")
    if n > MOST:
        raise ValueError(f"The 'n' parameter of audit_log must be at most {MOST:,}; got {n}. Check the log's votes.")
    plateau, findings = infer_alpha(log, sigma=sigma, n=n, digits=digits), list[str]()
    radii = log["radius"].to_numpy(float)[log["predict"].to_numpy() >= 0]
    beyond, odd = _misfits(radii, sigma, n, alpha, digits)
    fits = _fitting(radii, sigma, n, digits) if beyond or odd or plateau is None else ()
    if beyond:
        reach = float(largest_radius(n, sigma=sigma, alpha=alpha))
        findings.append(
            f"{beyond} of {len(radii)} radii exceed {reach:.4g}, the most that n = {n} votes can certify "
            f"at alpha {alpha:g}. {_which(fits)}"
        )
    if plateau and not plateau.low <= alpha <= plateau.high:
        votes = _votes(plateau.radius / sigma, alpha)
        findings.append(
            f"The plateau at {plateau.radius:g} ({plateau.rows} images) is that of alpha {plateau.low:.2g} to "
            f"{plateau.high:.2g}, or of {votes} votes at alpha {alpha:g}; it is said to be alpha {alpha:g} "
            f"with n = {n}."
        )
    if odd and not beyond:
        findings.append(
            f"{odd} of {len(radii)} radii are those of no count out of n = {n} at alpha {alpha:g}: "
            f"another n, or another test. {_which(fits)}"
        )
    if len(log) > 1 and (again := int(log["idx"].duplicated().sum())):
        findings.append(f"{again} lines repeat an image: several heads, or a run that was started twice.")
    for finding in findings:
        warnings.warn(finding, stacklevel=2)
    return Audit(tuple(findings), plateau, fits)


def _which(fits: tuple[float, ...]) -> str:
    """Say which of the usual alphas would explain a log."""
    if not fits:
        return f"Nor does another usual alpha fit every radius ({', '.join(f'{a:g}' for a in USUAL)})."
    return f"Every radius would fit alpha {' or '.join(f'{a:g}' for a in fits)}."


def _fitting(radii: np.ndarray, sigma: float, n: int, digits: int | None) -> tuple[float, ...]:
    return tuple(alpha for alpha in USUAL if not any(_misfits(radii, sigma, n, alpha, digits)))


def _check_digits(digits: int | None, where: str) -> int | None:
    if digits is not None and not 1 <= check_draws(digits, where, "digits") <= 17:
        raise ValueError(f"The 'digits' parameter of {where} must be from 1 to 17; got {digits}. 3 is usual.")
    return digits


def _votes(level: float, alpha: float) -> str:
    """How many votes that all agree certify so many sigma at alpha."""
    each = float(norm.logcdf(level))
    return f"{math.log(alpha) / each:,.0f}" if each < 0 else "no number of"


def _printed(radius: float, digits: int | None) -> tuple[float, float]:
    """The interval that prints as this radius, a little wider than half a unit of the last digit."""
    if radius <= 0:
        return radius, radius
    place = math.floor(math.log10(radius)) - (digits or DIGITS) + 1
    half = 0.5001 * 10.0 ** (place if digits else max(place, -DECIMALS))
    return radius - half, radius + half


def _misfits(radii: np.ndarray, sigma: float, n: int, alpha: float, digits: int | None) -> tuple[int, int]:
    """How many printed radii no votes reach, and how many lie between those that counts can give."""
    ends = np.array([_printed(radius, digits) for radius in radii[radii > 0]]).reshape(-1, 2)
    first = critical_count(n, alpha=alpha)
    reach = float(largest_radius(n, sigma=sigma, alpha=alpha))
    beyond = int((ends[:, 0] > reach).sum())
    if first > n or not len(ends):
        return beyond, len(ends)
    low, high = np.full(len(ends), first), np.full(len(ends), n + 1)
    while (low < high).any():  # the smallest count that reaches the lower end; n + 1 where none does
        middle = (low + high) // 2
        enough = np.asarray(certified_radius(np.minimum(middle, n), n, sigma=sigma, alpha=alpha)) >= ends[:, 0]
        low, high = np.where(enough | (middle > n), low, middle + 1), np.where(enough & (middle <= n), middle, high)
    least = np.asarray(certified_radius(np.minimum(low, n), n, sigma=sigma, alpha=alpha))
    return beyond, int(((low > n) | (least > ends[:, 1])).sum())


class Plateau(NamedTuple):
    """The largest radius of a log, and the alpha it implies for n votes."""

    radius: float
    rows: int
    alpha: float
    low: float
    high: float
    confirmed: bool


@dataclass(frozen=True)
class Audit:
    """What does not fit, in sentences, and the plateau."""

    findings: tuple[str, ...]
    plateau: Plateau | None
    fits: tuple[float, ...] = ()
    """Usual alphas at which every radius is possible, where no plateau tells alpha or something is wrong."""
