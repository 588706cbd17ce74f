"""What the bounds refuse, and that each refusal names the remedy."""

from __future__ import annotations

import pytest

from medadv.certify.bounds import (
    certified_radius,
    check_reachable,
    critical_count,
    high_probability_correction,
    largest_radius,
    lower_bound,
    predict_votes,
    radius,
    smallest_n,
    upper_bound,
    vote_pvalue,
)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -0.1, 1.0, float("nan")])
def test_alpha_is_refused(alpha):
    calls = [
        lambda: lower_bound(5, 10, alpha=alpha),
        lambda: upper_bound(5, 10, alpha=alpha),
        lambda: smallest_n(1.0, sigma=1.0, alpha=alpha),
        lambda: critical_count(10, alpha=alpha),
        lambda: predict_votes([5, 5], alpha=alpha),
        lambda: high_probability_correction(10, alpha=alpha),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="'alpha' parameter of .* must lie strictly between 0 and 0.5"):
            call()


@pytest.mark.parametrize("sigma", [0.0, -0.25, float("inf"), float("nan")])
def test_sigma_is_refused(sigma):
    for call in (
        lambda: radius(0.9, sigma=sigma),
        lambda: certified_radius(9, 10, sigma=sigma),
        lambda: largest_radius(10, sigma=sigma),
        lambda: smallest_n(1.0, sigma=sigma),
    ):
        with pytest.raises(ValueError, match="'sigma' parameter of .* must be positive"):
            call()


def test_too_few_votes_say_which_would_do():
    with pytest.raises(ValueError, match=r"at least 301 to certify radius 1 at sigma 0.5 .* got 100.*only 0.750"):
        check_reachable(100, radius=1.0, sigma=0.5)
    check_reachable(301, radius=1.0, sigma=0.5)
    with pytest.raises(ValueError, match="at least 301"):
        check_reachable(300, radius=1.0, sigma=0.5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lower_bound(11, 10), "'count' parameter of lower_bound must be from 0 to n; got 11 of 10"),
        (lambda: lower_bound(-1, 10), "got -1 of 10"),
        (lambda: lower_bound(0.5, 10), "whole numbers"),
        (lambda: lower_bound([1, 2, 3], [5, 6]), "must fit n"),
        (lambda: lower_bound(0, 0), "from 1 up"),
        (lambda: largest_radius(0, sigma=1.0), "from 1 up"),
        (lambda: critical_count(2.5), "whole number"),
        (lambda: critical_count(10, p=1.0), "'p' parameter"),
        (lambda: radius(1.2, sigma=1.0), r"\[0, 1\]"),
        (lambda: smallest_n(-1.0, sigma=1.0), "'radius' parameter"),
        (lambda: vote_pvalue(-1, 3), "must be counts"),
        (lambda: predict_votes([3]), "K >= 2"),
        (lambda: high_probability_correction(0), "'images' parameter"),
        (lambda: high_probability_correction(10, rho=0.0), "'rho' parameter"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
