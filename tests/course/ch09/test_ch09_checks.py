"""Every check accepts the right answer, also written otherwise, and names the usual mistakes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm

from medadv.certify.bounds import certified_radius, smallest_n
from medadv.course.ch09 import checks


def q1(k, n, s, a):
    if k == 0:
        return 0
    low = a ** (1 / n) if k == n else brentq(lambda p: binom.sf(k - 1, n, p) - a, 1e-12, 1 - 1e-12)
    return s * norm.ppf(low) if low > 0.5 else 0


def q2(r, s, a):
    n = 1
    while norm.cdf(r / s) ** n > a:
        n += 1
    return n


def q3(y, k, d, r):
    return sum(1 for i in range(len(y)) if y[i] == k[i] and d[i] >= r) / len(y)


def q4(r, m):
    return r * 255 / math.sqrt(3) / m


def q5(n1, c1, n2, c2):
    mass = {k: 0.5**n1 * math.comb(n1, k) for k in range(n1 + 1)}
    passed = sum(p for k, p in mass.items() if k >= c1)
    for k, p in mass.items():
        if k < c1:
            passed += p * sum(0.5 ** (n2 - n1) * math.comb(n2 - n1, j) for j in range(n2 - n1 + 1) if k + j >= c2)
    return passed


def q6(t, s, n):
    return np.exp(n * norm.logcdf(t / s))


def q7(t, s):
    return min(t * float(one) for one in s)


RIGHT = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5, "q6": q6, "q7": q7}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answer(name):
    verdict = getattr(checks, name)(RIGHT[name])
    assert verdict.ok, repr(verdict)


def test_the_package_answers_too():
    assert checks.q1(lambda k, n, s, a: certified_radius(k, n, sigma=s, alpha=a)).ok
    assert checks.q2(lambda r, s, a: smallest_n(r, sigma=s, alpha=a)).ok


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("empty", [lambda *a: None, lambda *a: ...])
def test_stub(name, empty):
    verdict = getattr(checks, name)(empty)
    assert verdict.state == "empty"
    assert repr(verdict) == f"{name}: not yet answered."


@pytest.mark.parametrize("name", RIGHT)
def test_an_exception_is_told(name):
    def broken(*_):
        raise KeyError("vote")

    verdict = getattr(checks, name)(broken)
    assert verdict.state == "wrong"
    assert "KeyError: 'vote'" in verdict.message


def _negative(k, n, s, a):
    return s * norm.ppf(beta.ppf(a, k, n - k + 1)) if k else 0


WRONG = [
    ("q1", lambda k, n, s, a: max(0, s * norm.ppf(min(k / n, 1))), "share of votes"),
    ("q1", lambda k, n, s, a: q1(k, n, s, a / 2), "two-sided"),
    ("q1", _negative, "abstains"),
    ("q1", lambda k, n, s, a: q1(k, n, 1.0, a), "sigma is missing"),
    ("q1", lambda k, n, s, a: 2 * q1(k, n, s, a), "case 1 should give"),
    ("q1", lambda k, n, s, a: float("nan"), "nan"),
    ("q2", lambda r, s, a: q2(r, s, a) - 1, "too few"),
    ("q2", lambda r, s, a: np.log(a) / norm.logcdf(r / s), "whole"),
    ("q2", lambda r, s, a: q2(r, 1.0, a), "sigma before Phi"),
    ("q2", lambda r, s, a: q2(r, s, 1 - a), "1 - alpha"),
    ("q3", lambda y, k, d, r: ((k == y) & (d >= r)).sum() / (k >= 0).sum(), "left out"),
    ("q3", lambda y, k, d, r: (d[k == y] >= r).mean(), "divide by all"),
    ("q3", lambda y, k, d, r: (d >= r).mean(), "wrong class"),
    ("q3", lambda y, k, d, r: ((k == y) & (d > r)).mean(), "r or more"),
    ("q3", lambda y, k, d, r: (k == y).mean(), "whatever the radius"),
    ("q3", lambda y, k, d, r: (k == y) & (d >= r), "shape"),
    ("q4", lambda r, m: 255 * r / m, "three channels"),
    ("q4", lambda r, m: 255 * r / (3 * m * m), "root is missing"),
    ("q4", lambda r, m: r / math.sqrt(3 * m * m), "multiply by 255"),
    ("q4", lambda r, m: 255 * r * math.sqrt(3) * m, "smaller"),
    ("q5", lambda n1, c1, n2, c2: binom.sf(c2 - 1, n2, 0.5), "only the second"),
    ("q5", lambda n1, c1, n2, c2: binom.sf(c1 - 1, n1, 0.5), "only the first"),
    ("q5", lambda n1, c1, n2, c2: binom.sf(c1 - 1, n1, 0.5) + binom.sf(c2 - 1, n2, 0.5), "counted twice"),
    (
        "q5",
        lambda n1, c1, n2, c2: 1 - (1 - binom.sf(c1 - 1, n1, 0.5)) * (1 - binom.sf(c2 - 1, n2, 0.5)),
        "not independent",
    ),
    ("q5", lambda n1, c1, n2, c2: q5(n1, c1 + 1, n2, c2 + 1), "one vote later"),
    ("q6", lambda t, s, n: norm.cdf(t) ** n, "sigma first"),
    ("q6", lambda t, s, n: norm.cdf(t / s), "n-th power"),
    ("q6", lambda t, s, n: norm.cdf(t / s) ** (1 / n), "take the power"),
    ("q6", lambda t, s, n: 1 - norm.cdf(t / s) ** n, "1 - alpha"),
    ("q6", lambda t, s, n: 2 * q6(t, s, n), "two-sided"),
    ("q7", lambda t, s: t / s.min(), "multiply"),
    ("q7", lambda t, s: t / s.max(), "largest std; multiply"),
    ("q7", lambda t, s: t * s.mean(), "mean over the channels"),
    ("q7", lambda t, s: t * s.max(), "largest std is not safe"),
    ("q7", lambda t, s: t * s, "shape"),
    ("q2", lambda r, s, a: round(np.log(a) / norm.logcdf(r / s)), "to the nearest"),
    ("q2", lambda r, s, a: q2(r, s, a / 2), "two-sided"),
    ("q7", lambda t, s: t * s[1], "case 3 should give"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_answer_is_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict
    assert len(repr(verdict)) < 300
