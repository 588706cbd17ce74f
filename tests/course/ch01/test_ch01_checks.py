"""Every check accepts the right answer, also written otherwise, and names the usual mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medadv.course.ch01 import checks


def q1(i, t, s):
    table = s * i @ t.T
    return -(table.log_softmax(0).diagonal() + table.log_softmax(1).diagonal()).mean() / 2


def q2(i, p):
    return torch.stack([F.cosine_similarity(i, c.sum(0)[None]) for c in p], 1).max(1).indices


def q3(s, m, k):
    rank = (s > s.masked_fill(~m, -9e9).max(1, keepdim=True).values).sum(1)
    return float((rank < k).sum()) / len(s)


def q4(e, s):
    return [255 * e * float(v) for v in s]


def q5(p, y):
    from sklearn.metrics import recall_score

    return recall_score(y, p, average="macro", labels=y.unique().numpy(), zero_division=0)


def q6(patients, share):
    chosen = sorted(set(patients))[: round(share * len(set(patients)))]
    return torch.tensor([p in chosen for p in patients])


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
    assert repr(verdict) == f"{name}: not yet answered."


@pytest.mark.parametrize("name", RIGHT)
def test_an_exception_is_told(name):
    def broken(*_):
        raise KeyError("lung")

    verdict = getattr(checks, name)(broken)
    assert verdict.state == "wrong"
    assert "KeyError: 'lung'" in verdict.message


def _rows(i, t, s):
    return F.cross_entropy(s * i @ t.T, torch.arange(len(i)))


def _recalls(p, y, classes):
    return torch.stack([(p[y == k] == k).double().mean() for k in classes if (y == k).any()]).mean()


def _hold(patients, many):
    chosen = sorted(set(patients))[:many]
    return torch.tensor([p in chosen for p in patients])


WRONG = [
    ("q1", lambda i, t, s: _rows(i, t, s), "only image to text"),
    ("q1", lambda i, t, s: _rows(t, i, s), "only text to image"),
    ("q1", lambda i, t, s: 2 * q1(i, t, s), "their mean is wanted"),
    ("q1", lambda i, t, s: q1(i, t, 1), "scale is not used"),
    ("q1", lambda i, t, s: q1(i, t, 1 / s), "divide by the scale"),
    ("q1", lambda i, t, s: len(i) * q1(i, t, s), "summed over the batch"),
    ("q1", lambda i, t, s: -(s * (i * t).sum(1)).mean(), "may collapse"),
    ("q1", lambda i, t, s: -q1(i, t, s), "case 1 should give"),
    ("q1", lambda i, t, s: s * i @ t.T, r"shape \(6, 6\)"),
    ("q1", lambda i, t, s: (0 * i).sum().log() * 0, "nan"),
    ("q2", lambda i, p: (i @ p.mean(1).T).argmax(1), "unit length"),
    ("q2", lambda i, p: (i @ p.flatten(0, 1).T).argmax(1) // 4, "best single prompt"),
    ("q2", lambda i, p: (i @ p[:, 0].T).argmax(1), "first prompt"),
    ("q2", lambda i, p: (i @ F.normalize(p.mean(1), dim=1).T).argmin(1), "fits least"),
    ("q2", lambda i, p: i @ F.normalize(p.mean(1), dim=1).T, "shape"),
    ("q2", lambda i, p: "effusion", "numbers are wanted"),
    ("q3", lambda s, m, k: q3(s.T, m.T, k), "text-to-image"),
    ("q3", lambda s, m, k: m.gather(1, s.topk(k).indices)[:, 0].float().mean(), "recall at 1 whatever"),
    ("q3", lambda s, m, k: q3(-s, m, k), "lowest"),
    ("q3", lambda s, m, k: m.gather(1, s.topk(k).indices).float().mean(), "precision"),
    ("q3", lambda s, m, k: m.gather(1, s.topk(k).indices).sum() / m.sum(), "share of all true captions"),
    (
        "q3",
        lambda s, m, k: (s.topk(k).indices == m.float().argmax(1)[:, None]).any(1).float().mean(),
        "first true",
    ),
    ("q4", lambda e, s: e / s * 255, "divide by std"),
    ("q4", lambda e, s: e * s, "255"),
    ("q4", lambda e, s: torch.ones(3) * e * 255, "std is not used"),
    ("q4", lambda e, s: torch.ones(3) * e * s.mean() * 255, "one std"),
    ("q5", lambda p, y: (p == y).float().mean(), "plain accuracy"),
    (
        "q5",
        lambda p, y: sum(((p == k) & (y == k)).sum() / max(1, (p == k).sum()) for k in (0, 1, 3)) / 3,
        "precision",
    ),
    (
        "q5",
        lambda p, y: sum(((p == k) & (y == k)).sum() / max(1, (y == k).sum()) for k in range(4)) / 4,
        "no image",
    ),
    ("q6", lambda p, s: torch.arange(len(p)) < 6, "both sides"),
    ("q6", lambda p, s: torch.tensor([x < "p05" for x in p]), "5 patients whatever"),
    ("q6", lambda p, s: [1, 2, 3], "bool tensor"),
    ("q6", lambda p, s: torch.zeros(20), "bool tensor"),
    ("q4", lambda e, s: e * s * 256, "255 steps"),
    ("q5", lambda p, y: _recalls(p, y, p.unique()), "never said"),
    ("q5", lambda p, y: (p == y).double().mean(), "plain accuracy"),
    ("q6", lambda p, s: _hold(p, int(s * len(set(p)))), "you round down"),
    ("q6", lambda p, s: _hold(p, math.ceil(s * len(set(p)))), "you round up"),
    ("q6", lambda p, s: ~q6(p, s), "wrong way round"),
    ("q6", lambda p, s: _hold(p, round(s * len(p))), "of the patients, not of the images"),
    ("q6", lambda p, s: sorted(set(p))[: round(s * len(set(p)))], "names of patients"),
    ("q6", lambda p, s: set(p), "names of patients"),
    ("q6", lambda p, s: np.array(sorted(set(p))[:3]), "names of patients"),
    ("q6", lambda p, s: "p03", "a single name"),
    ("q6", lambda p, s: q6(p, s).nonzero().flatten(), "places of the images"),
    ("q6", lambda p, s: q6(p, s).float(), "0 or 1"),
    ("q6", lambda p, s: q6(p, s)[:, None], "bool tensor"),
    ("q6", lambda p, s: {"p03": True}, "bool tensor"),
    ("q6", lambda p, s: 0.3, "you return a float"),
    ("q6", lambda p, s: [None] * len(p), "bool tensor"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_answer_is_named(name, answer, message):
    import re

    verdict = getattr(checks, name)(answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict
    assert len(repr(verdict)) < 300
