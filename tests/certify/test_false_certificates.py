"""Every method on 100,000 simulated streams of votes: how often it lies, how often it agrees, how little it draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from medadv.certify.bounds import critical_count
from medadv.certify.plans import estimate, radius_ladder, two_stage
from medadv.certify.sequential import StoppingRule, anytime_bound, anytime_test, fixed_test, group_sequential

STREAMS, ALPHA = 100_000, 0.001
MOST = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / STREAMS)
GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)


def paths(p: float | np.ndarray, looks: tuple[int, ...], seed: int, streams: int = STREAMS) -> np.ndarray:
    drawn = np.diff(np.asarray(looks), prepend=0)
    p = np.broadcast_to(p, streams)
    return np.random.default_rng((seed, looks[-1])).binomial(drawn, p[:, None]).cumsum(1)


def images(streams: int, seed: int) -> np.ndarray:
    """Margins spread like those of published logs: one image in seven below 0, one in ten near the ceiling.

    The class with the most votes is the one that is certified, so its probability is at least a half.
    """
    margin = np.random.default_rng(seed).normal(1.7, 1.6, streams)
    return np.asarray(norm.cdf(np.abs(margin)))


@pytest.mark.parametrize("z", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("test", [fixed_test, group_sequential, anytime_test])
def test_of_a_radius(test, z):
    """At the boundary every certificate is false; below it they are rarer still."""
    rule = test(z, sigma=1.0)
    assert rule.judge(paths(rule.p0, rule.looks, 1)).certified.mean() <= MOST
    assert rule.judge(paths(rule.p0 - 0.02, rule.looks, 2)).certified.mean() <= ALPHA / 10


@pytest.mark.parametrize("rung", [0, 4, 6])
@pytest.mark.parametrize("test", [group_sequential, anytime_test])
def test_of_a_ladder(test, rung):
    """The truth is exactly a rung's radius: certifying that rung or one above is false."""
    ladder = radius_ladder(GRID, sigma=1.0, test=test)
    told = ladder.judge(paths(float(norm.cdf(GRID[rung])), ladder.looks, 3))
    assert (told.certified & (told.radius >= GRID[rung])).mean() <= MOST


@pytest.mark.parametrize("z", [0.0, 0.7, 2.0])
def test_of_an_estimate(z):
    plan = estimate(sigma=1.0, n=1000)
    told = plan.judge(paths(float(norm.cdf(z)), plan.looks, 4))
    assert (told.certified & (told.radius > z)).mean() <= MOST


@pytest.mark.parametrize("z", [0.0, 0.7, 2.0])
def test_of_a_pilot_that_plans(z):
    plan = two_stage(sigma=1.0, n=10_000)
    rng, p = np.random.default_rng(5), float(norm.cdf(z))
    n = plan.plan(rng.binomial(plan.pilot, p, STREAMS))
    told = plan.judge(rng.binomial(n, p), n)
    assert (told.certified & (told.radius > z)).mean() <= MOST


def test_of_a_bound_that_may_be_read_at_any_time():
    p, looks = float(norm.cdf(0.7)), tuple(range(50, 1001, 50))
    path = paths(p, looks, 6)
    table = {look: anytime_bound(np.arange(look + 1), look, alpha=ALPHA) for look in looks}
    highest = np.max([table[look][path[:, at]] for at, look in enumerate(looks)], axis=0)
    assert (highest > p).mean() <= MOST


def test_naive_peeking_breaks_it():
    """The fixed-n bound, asked again every hundred votes: twelve times alpha."""
    looks = tuple(range(100, 10_001, 100))
    upper = tuple(critical_count(look) for look in looks)
    naive = StoppingRule(0.0, 0.5, looks, upper, (-1,) * len(looks))
    rate = naive.judge(paths(0.5, looks, 7, STREAMS // 4)).certified.mean()
    assert rate > 5 * ALPHA
    assert rate == pytest.approx(0.0123, abs=0.003)


def test_choosing_the_class_on_the_votes_that_certify_it_breaks_it():
    """A coin flip between two classes: the winner of the certifying votes is certified twice as often."""
    votes = np.random.default_rng(8).binomial(1000, 0.5, STREAMS)
    chosen = np.maximum(votes, 1000 - votes)
    assert estimate(sigma=1.0, n=1000).judge(chosen[:, None]).certified.mean() > 1.5 * ALPHA


@pytest.mark.parametrize(("n", "fewer"), [(10_000, 5), (100_000, 25)])
@pytest.mark.parametrize("z", [0.25, 0.5, 1.0, 1.5, 2.0])
def test_agrees_with_all_votes_and_draws_few(n, fewer, z):
    rule, all_votes = group_sequential(z, sigma=1.0, n=n), fixed_test(z, sigma=1.0, n=n)
    path = paths(images(20_000, 9), rule.looks, 10, 20_000)
    told, full = rule.judge(path), all_votes.judge(path[:, -1:])
    assert (told.certified == full.certified).mean() >= 0.995
    assert n / told.draws.mean() >= fewer
    bet = anytime_test(z, sigma=1.0, n=n).judge(path)
    assert (bet.certified == full.certified).mean() >= 0.99


def test_the_ladder_keeps_every_cell_of_the_table():
    ladder = radius_ladder((*GRID, 3.0), sigma=1.0)
    path = paths(images(50_000, 11), ladder.looks, 12, 50_000)
    told, full = ladder.judge(path), estimate(sigma=1.0).judge(path[:, -1:])
    for radius in ladder.radii:
        exact = (full.certified & (full.radius >= radius)).mean()
        assert abs((told.certified & (told.radius >= radius)).mean() - exact) <= 0.003
    assert 10_000 / told.draws.mean() >= 1.3


def test_the_pilot_trades_radius_for_draws():
    p, rng = images(50_000, 13), np.random.default_rng(14)
    plan = two_stage(sigma=1.0)
    n = plan.plan(rng.binomial(plan.pilot, p))
    told = plan.judge(rng.binomial(n, p), n)
    full = estimate(sigma=1.0).judge(rng.binomial(10_000, p)[:, None])
    assert 10_000 / (told.draws.mean() + plan.pilot) >= 1.8
    assert told.radius.mean() / full.radius.mean() >= 0.95
