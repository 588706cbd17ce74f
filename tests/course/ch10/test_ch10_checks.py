"""Every check accepts the right answer, also written otherwise, and names the usual mistakes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import beta, binom, norm

from medadv.course.ch10 import checks


def q1(t):
    p = torch.tensor(t).softmax(-1).mean(0)
    return -sum(float(one) * math.log(one) for one in p if one > 0)


def q2(c, g, lr, d):
    moved = torch.tensor(c, requires_grad=True)
    optimiser = torch.optim.AdamW([moved], lr=lr, weight_decay=d)
    moved.grad = torch.tensor(g)
    optimiser.step()
    return moved


def q3(x, t, s):
    """Walk away from x to the first image whose own step puts it into the other class."""
    side = np.sign(x)
    far = np.linspace(0, 2, 20_001)
    image = x - side * (far + 1e-9)
    vote = norm.cdf((image + t * np.sign(image)) / s) > 0.5
    claimed = brentq(lambda r: norm.cdf((x - side * r + t * side) / s) - 0.5, 0, 10)
    return claimed, far[vote != vote[0]][0]


def q4(f, w):
    counts = np.zeros(w.shape[:2], dtype=int)
    for v in range(len(w)):
        for one in f:
            counts[v, np.argmax(w[v] @ one)] += 1
    return counts


def q5(p, s, f, t):
    precision = 1 / s**2
    for _ in range(t):
        precision += 1 / f**2
    return norm.ppf(p) / math.sqrt(precision) if p > 0.5 else 0


def q6(k, m, a):
    return brentq(lambda p: binom.cdf(k, m, p) - a, 1e-9, 1 - 1e-12) if k < m else 1


def q7(n0, n, h, v, c):
    return v + sum(1 + c for _ in range(n0)) + sum(1 + c for _ in range(n))


RIGHT = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5, "q6": q6, "q7": q7}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answer(name):
    verdict = getattr(checks, name)(RIGHT[name])
    assert verdict.ok, repr(verdict)


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


def _entropy(p, axis=None):
    return -(p * np.log(np.maximum(p, 1e-300))).sum(axis)


def _logits(f, w):
    return np.stack([f @ one.T for one in w])


def _once(f, w):
    return np.eye(w.shape[1])[_logits(f, w).mean(1).argmax(1)]


WRONG = [
    ("q1", lambda t: _entropy(softmax(t, 1), 1).mean(), "contradict"),
    ("q1", lambda t: _entropy(softmax(t.mean(0))), "loud view"),
    ("q1", lambda t: q1(t) / math.log(2), "in bits"),
    ("q1", lambda t: -q1(t), "sign is missing"),
    ("q1", lambda t: _entropy(softmax(t, 0).mean(0)), "over the views"),
    ("q1", lambda t: q1(t) / t.shape[1], "not the mean"),
    ("q1", lambda t: softmax(t, 1).mean(0) * np.nan, "shape"),
    ("q1", lambda t: float("nan"), "logarithm of zero"),
    ("q2", lambda c, g, lr, d: c * (1 - lr * d) - lr * g, "plain gradient step: Adam"),
    ("q2", lambda c, g, lr, d: c - lr * g, "and without decay"),
    ("q2", lambda c, g, lr, d: q2(c, g, lr, 0.0), "decay is missing"),
    ("q2", lambda c, g, lr, d: q2(c, g + d * c, lr, 0.0), "decoupled"),
    ("q2", lambda c, g, lr, d: c * (1 - d) - lr * np.sign(g), "its share of lr"),
    ("q2", lambda c, g, lr, d: c * (1 - lr * d) - lr * np.sign(g) * 0.1 / math.sqrt(0.001), "corrected"),
    ("q2", lambda c, g, lr, d: q2(c, -g, lr, d), "climbs"),
    ("q2", lambda c, g, lr, d: c * (1 - lr * d) - lr * g / np.sqrt((g**2).sum()), "number by number"),
    ("q3", lambda x, t, s: (abs(x), abs(x)), "before tuning"),
    ("q3", lambda x, t, s: (q3(x, t, s)[0],) * 2, "frozen at x"),
    ("q3", lambda x, t, s: (abs(x - t * np.sign(x)), abs(x)), "towards x"),
    ("q3", lambda x, t, s: (x + t, x), "is a distance"),
    ("q3", lambda x, t, s: q3(x, t, s)[::-1], "first the claimed"),
    ("q3", lambda x, t, s: (s * (abs(x) + t), s * abs(x)), "sigma cancels"),
    ("q3", lambda x, t, s: ((abs(x) + t) / s, abs(x) / s), "multiply by sigma"),
    ("q3", lambda x, t, s: (abs(x) + t, max(0, abs(x) - t)), "not nearer"),
    ("q3", lambda x, t, s: abs(x), "shape"),
    ("q4", lambda f, w: _once(f, w) * len(f), "a vote of its own"),
    ("q4", _once, "single vote"),
    ("q4", lambda f, w: softmax(_logits(f, w), 2).sum(1), "sums of softmax"),
    ("q4", lambda f, w: q4(f, w) / len(f), "shares"),
    ("q4", lambda f, w: np.stack([(_logits(f, w).argmax(0) == v).sum(0) for v in range(len(w))]), "over the heads"),
    ("q4", lambda f, w: np.stack([q4(f, w.mean(0)[None])[0]] * len(w)), "each votes alone"),
    ("q4", lambda f, w: q4(f, w).sum(0), "shape"),
    ("q5", lambda p, s, f, t: max(0, norm.ppf(p)) * math.sqrt(s**2 + t * f**2), "add variances"),
    ("q5", lambda p, s, f, t: max(0, s * norm.ppf(p)) * math.sqrt(t + 1), "do not multiply"),
    ("q5", lambda p, s, f, t: max(0, s * norm.ppf(p)) / math.sqrt(t + 1), "of their own"),
    ("q5", lambda p, s, f, t: max(0, s * norm.ppf(p)), "not paid for"),
    ("q5", lambda p, s, f, t: max(0, norm.ppf(p)) / (1 / s + t / f), "squares are missing"),
    ("q5", lambda p, s, f, t: q5(p, s, f, min(t, 1)), "pays for one further copy;"),
    ("q5", lambda p, s, f, t: q5(p, s, f, 1), "even where there is none"),
    ("q5", lambda p, s, f, t: norm.ppf(p) / math.sqrt(1 / s**2 + t / f**2), "not a negative radius"),
    ("q6", lambda k, m, a: k / m, "never"),
    ("q6", lambda k, m, a: q6(k, m, a / 2), "two-sided"),
    ("q6", lambda k, m, a: 3 / m if k == 0 else q6(k, m, a), "21 %"),
    ("q6", lambda k, m, a: 3 / m, "none broken, of many"),
    ("q6", lambda k, m, a: 1 - a ** (1 / m), "nothing was broken only"),
    ("q6", lambda k, m, a: min(1, k / m + norm.ppf(1 - a) * math.sqrt(k * (m - k) / m**3)), "normal limit"),
    ("q6", lambda k, m, a: beta.ppf(a, k, m - k + 1) if k else 0, "lower limit"),
    ("q6", lambda k, m, a: beta.ppf(a, k + 1, m - k) if k < m else 1, "wrong side"),
    ("q6", lambda k, m, a: beta.ppf(1 - a, k + 1, m - k), "nan"),
    ("q7", lambda n0, n, h, v, c: q7(n0, n, 1, v, c) + (h - 1) * (n0 + n), "number costs nothing"),
    ("q7", lambda n0, n, h, v, c: (h + bool(v) + bool(c)) * (n0 + n) + v + (n0 + n) * c, "no head shares"),
    ("q7", lambda n0, n, h, v, c: q7(0, n, h, v, c), "choose the class are missing"),
    ("q7", lambda n0, n, h, v, c: n0 + q7(0, n, h, v, c), "need fresh copies"),
    ("q7", lambda n0, n, h, v, c: q7(n0, n, h, 0, c), "views are missing"),
    ("q7", lambda n0, n, h, v, c: n0 + n + v + c, "fresh in each"),
    ("q7", lambda n0, n, h, v, c: (n0 + n) * (1 + v + c), "not in every vote"),
    ("q7", lambda n0, n, h, v, c: v + (n0 + n) * (c or 1), "voted on is missing"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_answer_is_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict
    assert len(repr(verdict)) < 300
