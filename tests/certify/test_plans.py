"""Whole curves on one level alpha, exact radii, and pilots that plan."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from medadv.certify.bounds import certified_radius, largest_radius
from medadv.certify.plans import estimate, radius_ladder, two_stage
from medadv.certify.sequential import anytime_test, fixed_test, group_sequential

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


def paths(p: np.ndarray, looks: tuple[int, ...], seed: int) -> np.ndarray:
    """Accumulated votes of images whose class is named with probability p."""
    drawn = np.diff(np.asarray(looks), prepend=0)
    return np.random.default_rng(seed).binomial(drawn, p[:, None]).cumsum(1)


def climb(ladder, row: np.ndarray) -> tuple[float, bool, int]:
    """The ladder in words: stand below the lowest rung, go up while tests succeed, stop at the first that fails."""
    top, decided = -1, 0
    for rung in ladder.rungs:
        stops = zip(row, rung.upper, rung.lower, strict=True)
        at, won = next((at, count >= up) for at, (count, up, down) in enumerate(stops) if count >= up or count <= down)
        decided = max(decided, at)
        if not won:
            break
        top += 1
    return (ladder.radii[top] if top >= 0 else 0.0), top >= 0, ladder.looks[decided]


@pytest.mark.parametrize("test", [group_sequential, anytime_test, fixed_test])
def test_the_ladder_in_words(test):
    ladder = radius_ladder(GRID, sigma=1.0, n=2000, test=test)
    assert ladder.radii == tuple(r for r in GRID if r <= float(largest_radius(2000, sigma=1.0)))
    path = paths(norm.cdf(np.random.default_rng(0).normal(1.2, 1.2, 400)), ladder.looks, 1)
    told = ladder.judge(path)
    assert told.done.all()
    for row, radius, certified, draws in zip(path, told.radius, told.certified, told.draws, strict=True):
        assert climb(ladder, row) == (radius, certified, draws)


def test_a_ladder_of_fixed_tests_rounds_the_exact_radius_down():
    ladder = radius_ladder(GRID, sigma=1.0, test=fixed_test)
    counts = np.arange(0, 10_001)[:, None]
    told, exact = ladder.judge(counts), estimate(sigma=1.0).judge(counts)
    assert told.certified.tolist() == exact.certified.tolist()
    grid = np.asarray(GRID)
    down = grid[np.searchsorted(grid, exact.radius, side="right") - 1]
    assert told.radius.tolist() == down.tolist()


def test_unfinished_climbs_are_valid_already():
    ladder = radius_ladder((0.0, 1.0, 2.0), sigma=1.0, n=1000)
    path = paths(np.full(200, norm.cdf(1.6)), ladder.looks, 0)
    before = ladder.judge(path[:, :2])
    after = ladder.judge(path)
    assert (before.radius <= after.radius).all()
    assert not before.done.all()
    finished = before.done
    assert before.radius[finished].tolist() == after.radius[finished].tolist()


def test_estimate_is_certify():
    told = estimate(sigma=0.25, n=1000).judge(np.array([[0], [500], [550], [1000]]))
    assert told.certified.tolist() == [False, False, True, True]
    assert told.radius.tolist() == [certified_radius(k, 1000, sigma=0.25) for k in (0, 500, 550, 1000)]
    assert told.draws.tolist() == [1000] * 4


def test_a_pilot_plans():
    plan = two_stage(sigma=0.5, n=10_000, pilot=100, tolerance=0.1)
    assert len(plan.draws) == 101
    assert plan.draws[30] == 0  # hopeless: abstain at once
    assert plan.plan([30, 100]).tolist() == [0, plan.draws[100]]
    # The nearer to 1, the dearer.
    planned = [n for n in plan.draws if n]
    assert planned == sorted(planned)
    assert all(50 <= n <= 10_000 for n in planned)
    # Ready to lose nothing: all votes; ready to lose everything: hardly any.
    assert set(two_stage(sigma=1.0, tolerance=0.0).draws) == {0, 10_000}
    assert max(two_stage(sigma=1.0, tolerance=5.0).draws) == 50
    told = plan.judge(np.array([0, 400]), np.array([0, 400]))
    assert told.certified.tolist() == [False, True]
    assert told.radius[1] == certified_radius(400, 400, sigma=0.5)
    assert told.draws.tolist() == [0, 400]


def test_the_pilots_promise():
    """Where the pilot's interval holds, fresh votes as planned lose at most the tolerance, up to their own luck."""
    p = norm.cdf(np.linspace(0.3, 3.0, 28))
    plan = two_stage(sigma=1.0, n=10_000, tolerance=0.2)
    rng = np.random.default_rng(0)
    n = plan.plan(rng.binomial(100, p))
    assert (n > 0).all()
    expected = certified_radius(np.floor(p * n).astype(int), n, sigma=1.0)
    full = certified_radius(np.floor(p * 10_000).astype(int), 10_000, sigma=1.0)
    assert (full - expected).max() <= 0.2 + 0.02
    assert n.mean() < 5000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: radius_ladder((), sigma=1.0), "'radii' parameter"),
        (lambda: radius_ladder((1.0, 0.5), sigma=1.0), "must increase"),
        (lambda: radius_ladder((0.5, 0.5), sigma=1.0), "must increase"),
        (lambda: radius_ladder((1.0, 2.0), sigma=0.5, n=100), "at least 301 to certify radius 1"),
        (lambda: radius_ladder((1.0,), sigma=0.0), "'sigma' parameter"),
        (lambda: radius_ladder((-1.0,), sigma=1.0), "'radius' parameter"),
        (lambda: estimate(sigma=1.0, alpha=0.5), "'alpha' parameter"),
        (lambda: estimate(sigma=-1.0), "'sigma' parameter"),
        (lambda: estimate(sigma=1.0, n=0), "'n' parameter"),
        (lambda: two_stage(sigma=1.0, tolerance=-1), "'tolerance' parameter"),
        (lambda: two_stage(sigma=1.0, level=0.7), "'level'"),
        (lambda: two_stage(sigma=1.0, pilot=0), "'pilot' parameter"),
        (lambda: two_stage(sigma=1.0).plan([101]), "'count' parameter of plan"),
        (lambda: estimate(sigma=1.0, n=10).judge([[11]]), "'path' parameter"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
