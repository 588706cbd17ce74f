"""The auditor: alpha from the plateau, radii beyond reach, radii that no count gives."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from medadv.certify.bounds import certified_radius, largest_radius
from medadv.certify.log_check import audit_log, infer_alpha


def published_style(sigma: float, n: int, alpha: float, rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """A log as the published programs print it: three significant digits."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(1.7, 1.6, rows)
    margin[: rows // 8] = 6.0  # images that noise of this size never turns
    count = rng.binomial(n, norm.cdf(np.abs(margin)))
    radius = [float(f"{r:.3}") for r in np.asarray(certified_radius(count, n, sigma=sigma, alpha=alpha))]
    predict = np.where(np.array(radius) > 0, 1, -1)
    return pd.DataFrame({"idx": range(rows), "label": 1, "predict": predict, "radius": radius, "correct": predict == 1})


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.001, 0.01])
@pytest.mark.parametrize("n", [1000, 10_000, 100_000])
def test_a_log_that_is_what_it_says(sigma, alpha, n):
    log = published_style(sigma, n, alpha)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = audit_log(log, sigma=sigma, n=n, alpha=alpha)
    assert told.findings == ()
    assert told.plateau.low <= alpha <= told.plateau.high
    assert told.plateau.alpha == pytest.approx(alpha, rel=0.35)
    assert told.plateau.confirmed


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0])
def test_a_log_that_used_another_alpha(sigma):
    log = published_style(sigma, 100_000, 0.01)
    with pytest.warns(UserWarning, match="radii exceed|plateau at") as heard:
        told = audit_log(log, sigma=sigma, n=100_000, alpha=0.001)
    assert len(heard) == len(told.findings) == 2
    assert "exceed" in told.findings[0]
    assert "is that of alpha 0.0" in told.findings[1]
    assert not told.plateau.low <= 0.001 <= told.plateau.high
    assert heard[0].filename == __file__


def test_the_plateau_of_a_published_log():
    """The top of locuslab's CIFAR log at sigma 0.25: documented with n = 100000 and alpha = 0.001."""
    radii = [0.978] * 8 + [0.955] * 4 + [0.941] * 2 + [0.929, 0.92, 0.906, 0.894, 0.378]
    log = pd.DataFrame({"idx": range(len(radii)), "label": 1, "predict": 1, "radius": radii})
    found = infer_alpha(log, sigma=0.25, n=100_000)
    assert found.rows == 8
    assert found.low < 0.01 < found.high < 0.02
    assert found.low > 0.005
    assert found.confirmed
    with pytest.warns(UserWarning, match="radii exceed|plateau at") as heard:
        audit_log(log, sigma=0.25, n=100_000, alpha=0.001)
    assert "12 of 19 radii exceed" in str(heard[0].message)
    assert "is that of alpha 0.0099 to 0.011, or of 150," in str(heard[1].message)
    assert audit_log(log, sigma=0.25, n=100_000, alpha=0.01).findings == ()


def test_no_plateau():
    log = pd.DataFrame({"idx": [0, 1, 2], "label": 1, "predict": [1, 1, -1], "radius": [0.5, 0.5, 0.0]})
    assert infer_alpha(log, sigma=1.0, n=1000) is None
    assert infer_alpha(log.assign(radius=0.0, predict=-1), sigma=1.0, n=1000) is None
    assert audit_log(log, sigma=1.0, n=100_000).plateau is None


def test_a_plateau_of_something_else_is_not_confirmed():
    top = float(f"{float(largest_radius(1000, sigma=1.0)):.3}")
    log = pd.DataFrame({"idx": range(5), "label": 1, "predict": 1, "radius": [top] * 4 + [top - 0.02]})
    assert not infer_alpha(log, sigma=1.0, n=1000).confirmed


def test_radii_that_no_count_gives():
    log = published_style(0.5, 1000, 0.001)
    log.loc[0, "radius"] = 1.19  # between 999 and 1000 votes of 1000
    with pytest.warns(UserWarning, match="1 of 290 radii are those of no count out of n = 1000"):
        audit_log(log, sigma=0.5, n=1000)


def test_lines_that_repeat():
    log = published_style(0.5, 1000, 0.001)
    with pytest.warns(UserWarning, match="300 lines repeat an image"):
        audit_log(pd.concat([log, log]), sigma=0.5, n=1000)


def test_bad_input():
    log = published_style(0.5, 1000, 0.001)
    for bad, says in (({"sigma": 0.0}, "'sigma'"), ({"n": 0}, "'n'"), ({"alpha": 0.5}, "'alpha'")):
        with pytest.raises(ValueError, match=f"{says} parameter of audit_log"):
            audit_log(log, **({"sigma": 0.5, "n": 1000} | bad))


def printed(radius: float, decimals: int = 4) -> float:
    """As a program prints it that rounds to decimals."""
    return round(radius, decimals)


def rounded_log(alpha: float = 0.001, sigma: float = 1.0, n: int = 100_000) -> pd.DataFrame:
    """Small radii to four decimals, the first of them 0.0066."""
    counts = np.array([50_755, 51_000, 52_345, 55_001, 60_123, 77_777, 90_909, 99_000])
    radii = [printed(r) for r in np.asarray(certified_radius(counts, n, sigma=sigma, alpha=alpha))]
    return pd.DataFrame({"idx": range(len(radii)), "label": 1, "predict": 1, "radius": radii})


def test_a_log_of_four_decimals_is_honest():
    log = rounded_log()
    assert log["radius"].iloc[0] == pytest.approx(0.0090, abs=0.005)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = audit_log(log, sigma=1.0, n=100_000)
        low = audit_log(log[:1].assign(radius=0.0066), sigma=1.0, n=100_000)
    assert told.findings == ()
    assert 0.001 in told.fits
    assert low.findings == (), "the radius of the bug report"
    with pytest.warns(UserWarning, match="of no count|those of no"):
        assert audit_log(log, sigma=1.0, n=100_000, digits=9).findings, "nine digits are promised, and are not there"


def test_without_a_plateau_it_says_which_alpha_would_fit():
    log = pd.DataFrame({"idx": [0, 1], "label": 1, "predict": 1, "radius": [0.0, 0.0]})
    exact = certified_radius(np.array([987, 1000]), 1000, sigma=0.5, alpha=0.01)
    log["radius"] = [float(r) for r in exact]
    with pytest.warns(UserWarning, match="Every radius would fit alpha 0.01."):
        told = audit_log(log, sigma=0.5, n=1000, alpha=0.001, digits=12)
    assert told.plateau is None
    assert told.fits == (0.01,)
    fine = audit_log(log, sigma=0.5, n=1000, alpha=0.01, digits=12)
    assert (fine.findings, fine.fits) == ((), (0.01,))
    log["radius"] = [0.1234567890123, 0.9876543210987]
    with pytest.warns(UserWarning, match="Nor does another usual alpha fit"):
        assert audit_log(log, sigma=0.5, n=1000, alpha=0.01, digits=12).fits == ()


@pytest.mark.parametrize("digits", [0, 18, -1])
def test_digits_are_from_1_to_17(digits):
    with pytest.raises(ValueError, match="'digits' parameter of audit_log must be"):
        audit_log(rounded_log(), sigma=1.0, n=1000, digits=digits)
