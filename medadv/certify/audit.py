"""How could a published log lie? What its largest radius tells of alpha and n, and radii that no votes can give."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from medadv.certify._door import check_alpha, check_draws, check_sigma
from medadv.certify.bounds import certified_radius, critical_count, largest_radius


def infer_alpha(log: pd.DataFrame, *, sigma: float, n: int, digits: int = 3) -> Plateau | None:
    """Read alpha from the largest radius of a log: where all n votes agree it is sigma * z(alpha**(1/n)).

    Shapes   none.
    Units    sigma in pixel units; digits: significant digits the radii were printed with.
    Returns  Plateau with the alpha it implies and the range that rounding leaves; None unless three images share the
             largest radius. `confirmed` says that the next radius below it is that of n - 1 votes at this alpha.
    Raises   ValueError for sigma <= 0 or n < 1.
    Source   lower_bound at count n, solved for alpha.
    """
    sigma, n = check_sigma(sigma, "infer_alpha"), check_draws(n, "infer_alpha")
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


def audit_log(log: pd.DataFrame, *, sigma: float, n: int, alpha: float = 0.001, digits: int = 3) -> Audit:
    """Hold a log against the sigma, n and alpha it is said to come from, and warn of what does not fit.

    Shapes   one log of one noise level.
    Units    sigma in pixel units; digits: significant digits the radii were printed with.
    Returns  Audit: sentences, none if all is well, and the plateau. Every sentence is also a warning.
    Raises   ValueError for a bad sigma, n or alpha.
    Source   the exact radii of n votes; locuslab documents alpha 0.001, and most of its plateaus say 0.01.
    """
    sigma, n = check_sigma(sigma, "audit_log"), check_draws(n, "audit_log")
    alpha, plateau = check_alpha(alpha, "audit_log"), infer_alpha(log, sigma=sigma, n=n, digits=digits)
    findings = []
    reach = float(largest_radius(n, sigma=sigma, alpha=alpha))
    radii = log["radius"].to_numpy(float)[log["predict"].to_numpy() >= 0]
    beyond = int(sum(_printed(r, digits)[0] > reach for r in radii))
    if beyond:
        findings.append(
            f"{beyond} of {len(radii)} radii exceed {reach:.4g}, the most that n = {n} votes can certify "
            f"at alpha {alpha:g}."
        )
    if plateau and not plateau.low <= alpha <= plateau.high:
        votes = math.log(alpha) / float(norm.logcdf(plateau.radius / sigma))
        findings.append(
            f"The plateau at {plateau.radius:g} ({plateau.rows} images) is that of alpha {plateau.low:.2g} to "
            f"{plateau.high:.2g}, or of {votes:,.0f} votes at alpha {alpha:g}; it is said to be alpha {alpha:g} "
            f"with n = {n}."
        )
    if not beyond and (odd := _impossible(radii, sigma, n, alpha, digits)):
        findings.append(
            f"{odd} of {len(radii)} radii are those of no count out of n = {n} at alpha {alpha:g}: "
            "another n, or another test."
        )
    if len(log) > 1 and (again := int(log["idx"].duplicated().sum())):
        findings.append(f"{again} lines repeat an image: several heads, or a run that was started twice.")
    for finding in findings:
        warnings.warn(finding, stacklevel=2)
    return Audit(tuple(findings), plateau)


def _printed(radius: float, digits: int) -> tuple[float, float]:
    """The interval that prints as this radius, a little wider than half a unit of the last digit."""
    half = 0.5001 * 10.0 ** (math.floor(math.log10(radius)) - digits + 1) if radius > 0 else 0.0
    return radius - half, radius + half


def _impossible(radii: np.ndarray, sigma: float, n: int, alpha: float, digits: int) -> int:
    """How many printed radii lie between those that counts can give: only near the top are these far apart."""
    first = critical_count(n, alpha=alpha)
    if first > n:
        return int((radii > 0).sum())
    possible = np.asarray(certified_radius(np.arange(first, n + 1), n, sigma=sigma, alpha=alpha))
    ends = np.array([_printed(radius, digits) for radius in radii[radii > 0]]).reshape(-1, 2)
    at = np.searchsorted(possible, ends[:, 0])
    return int((possible[np.minimum(at, len(possible) - 1)] > ends[:, 1]).sum() + (at == len(possible)).sum())


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
