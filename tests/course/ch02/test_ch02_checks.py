"""Every check accepts the right answer, also written otherwise, and names the usual mistakes."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

from medadv.course.ch02 import checks


def q1(w, eps, norm):
    """Search over the candidates instead of knowing the answer."""
    sure = [eps * w.sign()] if norm == "linf" else [eps * F.normalize(w, dim=0)] if norm == "l2" else []
    sure += [s * eps * one for one in torch.eye(len(w)) for s in (-1, 1)] if norm == "l1" else []
    return max(sure, key=lambda d: float(w @ d))


def q2(x, clean, g, eps, size):
    moved = x + size * g.sign()
    return torch.minimum(torch.maximum(moved, (clean - eps).clamp(min=0)), (clean + eps).clamp(max=1))


def q3(image, eps, mean, std):
    pixels = torch.stack([(image - eps).clamp(min=0), (image + eps).clamp(max=1)])
    return (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def q4(z, y):
    return torch.stack([max(row[k] for k in range(len(row)) if k != t) - row[t] for row, t in zip(z, y, strict=True)])


def q5(right, won):
    standing = [bool(r) and not any(w) for r, w in zip(right, won.T, strict=True)]
    return [sum(standing) / len(standing), 1 - sum(standing) / int(right.sum())]


def q6(label, away, toward, k):
    found = [int(a == k) for a, y in zip(away, label, strict=True) if y == k]
    spared = [int(t != k) for t, y in zip(toward, label, strict=True) if y != k]
    return [sum(found) / len(found), sum(spared) / len(spared)]


RIGHT = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5, "q6": q6}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answer(name):
    verdict = getattr(checks, name)(RIGHT[name])
    assert verdict.ok, repr(verdict)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("empty", [lambda *a: None, lambda *a: ...])
def test_stub(name, empty):
    verdict = getattr(checks, name)(empty)
    assert verdict.state == "empty"


@pytest.mark.parametrize("name", RIGHT)
def test_an_exception_is_told(name):
    def broken(*_):
        raise KeyError("lung")

    verdict = getattr(checks, name)(broken)
    assert verdict.state == "wrong"
    assert "KeyError: 'lung'" in verdict.message


def _share(mask):
    return mask.float().mean()


def _lost(r, w):
    return r & w.any(0)


def _k(channels):
    return channels.view(3, 1, 1)


def _z(image, mean, std):
    return (image - _k(mean)) / _k(std)


WRONG = [
    ("q1", lambda w, e, n: -q1(w, e, n), "against the weight"),
    ("q1", lambda w, e, n: q1(w, 1.0, n), "eps is not used"),
    ("q1", lambda w, e, n: e * w.sign(), "all three norms get the sign"),
    ("q1", lambda w, e, n: e * w / w.norm(), "that is the L2 answer"),
    ("q1", lambda w, e, n: e * w if n == "l2" else q1(w, e, n), "L2: divide"),
    ("q1", lambda w, e, n: e * w / w.abs().max() if n == "linf" else q1(w, e, n), "L-inf: the sign"),
    ("q1", lambda w, e, n: e * w / w.abs().sum() if n == "l1" else q1(w, e, n), "you spread it"),
    ("q1", lambda w, e, n: e * F.one_hot(w.argmax(), 9).float() if n == "l1" else q1(w, e, n), "negative weight"),
    ("q1", lambda w, e, n: q1(w, 2 * e, n), "case 1 should give"),
    ("q2", lambda x, c, g, e, s: q2(x, c, -g, e, s), "downhill"),
    ("q2", lambda x, c, g, e, s: c + (x + s * g.sign() - c).clamp(-e, e), "no box"),
    ("q2", lambda x, c, g, e, s: (x + s * g.sign()).clamp(0, 1), "no ball"),
    ("q2", lambda x, c, g, e, s: (x + (s * g.sign()).clamp(-e, e)).clamp(0, 1), "around the clean image"),
    ("q2", lambda x, c, g, e, s: q2(c, c, g, e, s), "start again"),
    ("q2", lambda x, c, g, e, s: (c + (x + s * g - c).clamp(-e, e)).clamp(0, 1), "take its sign"),
    ("q2", lambda x, c, g, e, s: q2(x, c, g, e, e), "size of one step"),
    ("q3", lambda x, e, m, s: q3(x, e * s.view(3, 1, 1), m, s), "used as it is"),
    ("q3", lambda x, e, m, s: q3(x, e * s.view(3, 1, 1) ** 2, m, s), "multiply eps by std"),
    ("q3", lambda x, e, m, s: q3(x, e * s.view(3, 1, 1) / s.mean(), m, s), "one std"),
    (
        "q3",
        lambda x, e, m, s: (torch.stack([x - e, x + e]) - m.view(3, 1, 1)) / s.view(3, 1, 1),
        "box is missing",
    ),
    (
        "q3",
        lambda x, e, m, s: torch.stack(
            [
                ((x - e - m.view(3, 1, 1)) / s.view(3, 1, 1)).clamp(min=0),
                ((x + e - m.view(3, 1, 1)) / s.view(3, 1, 1)).clamp(max=1),
            ]
        ),
        r"the box is \[0, 1\]",
    ),
    ("q3", lambda x, e, m, s: torch.stack([(x - e).clamp(min=0), (x + e).clamp(max=1)]), "limits in pixels"),
    ("q3", lambda x, e, m, s: x, "shape"),
    ("q4", lambda z, y: -q4(z, y), "sign is the wrong way"),
    ("q4", lambda z, y: z.max(1).values - z[torch.arange(len(z)), y], "includes the true one"),
    ("q4", lambda z, y: -z.log_softmax(1)[torch.arange(len(z)), y], "saturates"),
    ("q4", lambda z, y: q4(z, y).mean(), "shape"),
    ("q4", lambda z, y: q4(z, y).mean().repeat(len(y)), "averaged over the batch"),
    (
        "q4",
        lambda z, y: z.masked_fill(F.one_hot(y, z.shape[1]).bool(), 0.0).amax(1) - z[torch.arange(len(z)), y],
        "all be negative",
    ),
    (
        "q4",
        lambda z, y: (
            z.masked_fill(F.one_hot(y, z.shape[1]).bool(), 0.0).sum(1) / (z.shape[1] - 1) - z[torch.arange(len(z)), y]
        ),
        "best of them decides",
    ),
    ("q5", lambda r, w: torch.tensor([q5(r, one[None]) for one in w]).mean(0), "average over the attacks"),
    ("q5", lambda r, w: min(q5(r, one[None]) for one in w), "best single attack"),
    ("q5", lambda r, w: q5(r, w.all(0)[None]), "only if all attacks"),
    ("q5", lambda r, w: [_share(~w.any(0)), q5(r, w)[1]], "needs no attack"),
    ("q5", lambda r, w: [q5(r, w)[0], _share(_lost(r, w))], "divided by all images"),
    ("q5", lambda r, w: [q5(r, w)[0], _share(w.any(0))], "nothing was won there"),
    ("q5", lambda r, w: [1 - q5(r, w)[1], q5(r, w)[1]], "share of all images"),
    ("q6", lambda y, a, t, k: q6(y, a, a, k), "after the push away"),
    ("q6", lambda y, a, t, k: q6(y, t, t, k), "after the push towards"),
    ("q6", lambda y, a, t, k: q6(y, t, a, k), "swapped"),
    ("q6", lambda y, a, t, k: q6(y, a, t, k)[::-1], "order"),
    ("q6", lambda y, a, t, k: [q6(y, a, t, k)[0], _share((t == y)[y != k])], "no false alarm"),
    ("q6", lambda y, a, t, k: [_share(y[a == k] == k), _share(y[t != k] != k)], "predictive value"),
    (
        "q3",
        lambda x, e, m, s: torch.stack([_z(x, m, s) - e, _z(x, m, s) + e]).clamp(0, 1),
        "as it is.*both limits are cut",
    ),
    (
        "q3",
        lambda x, e, m, s: torch.stack([(_z(x, m, s) - e).clamp(min=0), (_z(x, m, s) + e).clamp(max=1)]),
        "as it is.*0, 1",
    ),
    ("q3", lambda x, e, m, s: torch.stack([_z(x, m, s) - e, _z(x, m, s) + e]), "as it is.*box is missing"),
    (
        "q3",
        lambda x, e, m, s: torch.stack([_z(x, m, s) - _k(e * s), _z(x, m, s) + _k(e * s)]),
        "multiplied.*box is missing",
    ),
    ("q3", lambda x, e, m, s: torch.stack([_z(x, m, s) - _k(e / s), _z(x, m, s) + _k(e / s)]).clamp(0, 1), "0, 1"),
    ("q3", lambda x, e, m, s: q3(x, e, m, s).flip(0), "lowest first"),
    ("q4", lambda z, y: q4(z, y).clamp(min=0), "never below zero"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_answer_is_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict
    assert len(repr(verdict)) < 300
