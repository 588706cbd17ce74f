"""Exact bounds against closed forms, published vectors, scipy's own test, and statsmodels where it is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from medadv.certify.bounds import (
    certified_radius,
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

# count, n, alpha, lower bound, its z
VECTORS = [
    (0, 100, 1e-3, 0.0, -math.inf),
    (65, 100, 1e-3, 0.491375611494, -0.021619820),
    (66, 100, 1e-3, 0.501649951337, 0.004135826),
    (90, 100, 1e-3, 0.775329880168, 0.756515405),
    (99, 100, 1e-3, 0.911373111296, 1.349259039),
    (100, 100, 1e-3, 0.933254300797, 1.500475024),
    (200, 200, 1e-3, 0.966050878990, 1.825681562),
    (500, 500, 1e-3, 0.986279485631, 2.205186235),
    (550, 1000, 1e-3, 0.500675960093, 0.001694381),
    (900, 1000, 1e-3, 0.867464018026, 1.114483162),
    (990, 1000, 1e-3, 0.976036187155, 1.978009582),
    (1000, 1000, 1e-3, 0.993116048421, 2.463262615),
    (5155, 10000, 1e-3, 0.499999939407, -1.52e-7),
    (9000, 10000, 1e-3, 0.890409733675, 1.228710061),
    (9900, 10000, 1e-3, 0.986531159324, 2.212419665),
    (9999, 10000, 1e-3, 0.999077038669, 3.113963592),
    (10000, 10000, 1e-3, 0.999309463003, 3.198577515),
    (60000, 100000, 1e-3, 0.595201047295, 0.240944792),
    (99000, 100000, 1e-3, 0.988989340377, 2.289999955),
    (100000, 100000, 1e-3, 0.999930924833, 3.811456563),
    (100000, 100000, 1e-2, 0.999953949359, 3.910510430),
]


@pytest.mark.parametrize(("count", "n", "alpha", "bound", "z"), VECTORS)
def test_bound_and_radius_are_the_known_ones(count, n, alpha, bound, z):
    assert lower_bound(count, n, alpha=alpha) == pytest.approx(bound, abs=1e-12)
    for sigma in (0.25, 0.5, 1.0):
        assert radius(lower_bound(count, n, alpha=alpha), sigma=sigma) == pytest.approx(sigma * z, abs=1e-9)
        assert certified_radius(count, n, sigma=sigma, alpha=alpha) == pytest.approx(max(0.0, sigma * z), abs=1e-9)


def test_all_counts_at_once_and_in_the_kind_they_came():
    count, n = np.array([v[0] for v in VECTORS]), np.array([v[1] for v in VECTORS])
    alone = [lower_bound(int(k), int(m)) for k, m in zip(count, n, strict=True)]
    assert lower_bound(count, n).tolist() == alone
    given_tensors = lower_bound(torch.tensor(count), torch.tensor(n))
    assert isinstance(given_tensors, torch.Tensor)
    assert given_tensors.dtype == torch.float64
    assert given_tensors.tolist() == alone
    assert isinstance(lower_bound(3, 5), float)
    assert isinstance(largest_radius(torch.tensor([100, 200]), sigma=1.0), torch.Tensor)
    assert lower_bound(np.arange(6).reshape(2, 3), 5).shape == (2, 3)


@given(st.integers(1, 2000), st.data())
def test_bounds_solve_the_binomial_equation(n, data):
    count = data.draw(st.integers(0, n))
    low, high = lower_bound(count, n), upper_bound(count, n)
    assert low <= count / n <= high
    if count:
        assert binom.sf(count - 1, n, low) == pytest.approx(1e-3, rel=1e-7)
    if count < n:
        assert binom.cdf(count, n, high) == pytest.approx(1e-3, rel=1e-7)
    assert high == pytest.approx(1 - lower_bound(n - count, n), abs=1e-12)


def test_ends_are_exact():
    n = np.array([1, 7, 100, 10_000, 1_000_000])
    assert (lower_bound(0 * n, n) == 0).all()
    assert (upper_bound(n, n) == 1).all()
    assert lower_bound(n, n).tolist() == [0.001 ** (1 / int(m)) for m in n]
    assert upper_bound(0 * n, n) == pytest.approx(1 - 0.001 ** (1 / n), rel=1e-9)


def test_scipy_has_the_same_interval():
    for count, n, alpha, *_ in VECTORS:
        ours = (lower_bound(count, n, alpha=alpha), upper_bound(count, n, alpha=alpha))
        # One-sided at alpha is one end of the two-sided interval at 1 - 2 alpha.
        assert ours == pytest.approx(tuple(binomtest(count, n).proportion_ci(1 - 2 * alpha, "exact")), abs=1e-9)


def test_statsmodels_has_the_same_interval():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for count, n, alpha, *_ in VECTORS[1:]:
        theirs = proportion.proportion_confint(count, n, 2 * alpha, "beta")[0]
        assert lower_bound(count, n, alpha=alpha) == pytest.approx(theirs, abs=1e-12)


def test_radius_of_two_probabilities():
    found = radius([0.8, 0.9, 0.6], sigma=1.0, other=[0.05, 0.1, 0.4])
    assert found == pytest.approx([1.2432374302, 1.2815515655, 0.2533471031], abs=1e-9)
    p = np.linspace(0.5, 0.999, 50)
    assert radius(p, sigma=0.3, other=1 - p) == pytest.approx(radius(p, sigma=0.3), abs=1e-12)
    assert radius(torch.tensor([0.9]), sigma=1.0, other=torch.tensor([0.1])).shape == (1,)


def test_a_linear_classifier_has_the_radius_it_should():
    # f(x) = 1[w.x > 0] with |w| = 1: P(f(x + noise) = 1) = Phi(w.x / sigma), and the true distance is w.x.
    for sigma in (0.12, 0.25, 1.0):
        distance = sigma * np.linspace(0.0, 4.0, 21)
        assert radius(norm.cdf(distance / sigma), sigma=sigma) == pytest.approx(distance, abs=1e-9)


def test_noise_after_normalising_overclaims_by_one_over_std():
    # The same classifier, told that sigma is in pixels, when the noise was added to (pixels - mean) / std.
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    distance, sigma = 0.1, 0.25
    for one in std:
        p = norm.cdf(distance / one / sigma)  # in normalised space the boundary is 1 / std further away
        assert radius(p, sigma=sigma) / distance == pytest.approx(1 / one, rel=1e-9)
    assert 1 / std == pytest.approx([3.72, 3.83, 3.63], abs=0.005)


def test_what_n_votes_reach():
    n = [100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000]
    reach = [1.500475, 1.825682, 2.205186, 2.463263, 2.701833, 2.993144, 3.198578, 3.811457, 4.346774]
    assert largest_radius(n, sigma=1.0) == pytest.approx(reach, abs=1e-6)
    # PromptSmooth's 10,000 draws: nothing above 3.2 sigma, whatever the model.
    four = [float(largest_radius(10_000, sigma=s)) for s in (0.1, 0.25, 0.5, 1.0)]
    assert np.round(four, 3).tolist() == [0.32, 0.8, 1.599, 3.199]
    assert largest_radius(5, sigma=1.0) == 0.0


def test_smallest_n():
    radii = [0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert [smallest_n(r, sigma=1.0) for r in radii] == [19, 40, 100, 301, 1109, 5114, 29691]
    assert smallest_n(0.0, sigma=1.0) == 10


@given(st.integers(10, 200_000), st.sampled_from([0.05, 0.25, 1.0]))
def test_smallest_n_inverts_largest_radius(n, sigma):
    reach = float(largest_radius(n, sigma=sigma))
    assert smallest_n(reach, sigma=sigma) == n
    assert smallest_n(reach * (1 + 1e-6), sigma=sigma) > n


def test_votes_it_takes_not_to_abstain():
    n = [50, 64, 100, 200, 500, 1000, 2000, 10_000, 100_000]
    assert [critical_count(m) for m in n] == [37, 45, 66, 123, 286, 550, 1070, 5156, 50_490]
    assert [critical_count(m, alpha=0.01) for m in (100, 1000, 10_000)] == [63, 538, 5117]
    assert critical_count(5) == 6  # even five equal votes are not enough
    singles = [critical_count(10_000, p=float(norm.cdf(r))) for r in (0, 0.5, 1, 1.5, 2)]
    assert singles == [5156, 7058, 8526, 9409, 9818]


@given(st.integers(1, 3000), st.floats(0.5, 0.999), st.sampled_from([1e-4, 1e-3, 1e-2, 0.1]))
def test_the_test_is_the_bound_inverted(n, p, alpha):
    need = critical_count(n, p=p, alpha=alpha)
    if need <= n:
        assert lower_bound(need, n, alpha=alpha) >= p - 1e-12
    assert lower_bound(need - 1, n, alpha=alpha) <= p + 1e-12


def test_predict_votes():
    pairs = [(60, 40), (66, 34), (67, 33), (552, 448), (553, 447), (10, 0), (11, 0)]
    known = [0.0568879336, 0.0017899304, 0.0008737198, 0.0011150492, 0.0008899860, 0.001953125, 0.0009765625]
    first, second = np.array(pairs).T
    assert vote_pvalue(first, second) == pytest.approx(known, abs=1e-10)
    theirs = [binomtest(a, a + b).pvalue for a, b in pairs]
    assert vote_pvalue(second, first) == pytest.approx(theirs, abs=1e-12)
    assert vote_pvalue(0, 0) == vote_pvalue(5, 5) == 1.0
    votes = np.array([[33, 0, 67], [34, 0, 66], [11, 0, 0], [5, 5, 5]])
    assert predict_votes(votes).tolist() == [2, -1, 0, -1]
    assert predict_votes(torch.tensor(votes)).dtype == torch.int64
    assert predict_votes([33, 67]) == 1


def test_correction_for_a_whole_test_set():
    assert high_probability_correction(500) == pytest.approx(0.009320, abs=5e-7)
    assert high_probability_correction(10_000) == pytest.approx(0.002061, abs=5e-7)
    # Bernstein is safe: among 500 certificates, each false with chance alpha, more are false less often than rho.
    allowed = math.floor(500 * high_probability_correction(500))
    assert binom.sf(allowed, 500, 1e-3) <= 1e-3
