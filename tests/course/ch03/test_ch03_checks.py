"""Every check of chapter 3 accepts the right answer, also written otherwise, and names the usual mistakes."""

from __future__ import annotations

import re

import pytest
import torch

from medadv.course.ch03 import checks


def q1(before, after, words, protected):
    a, b = before.split(" "), after.split(" ")
    changed = [{x, y} for x, y in zip(a, b, strict=False) if x != y]
    return len(a) == len(b) and len(changed) <= words and not set().union(*changed) & protected


def q2(table, tokens, gradient):
    gain = ((table[None] - table[tokens][:, None]) * gradient[:, None]).sum(-1)
    place = int(gain.max(1).values.argmax())
    return place, int(gain[place].argmax())


def q3(image, text, own):
    return torch.stack([-(text[mine] @ x).mean() for x, mine in zip(image, own, strict=True)])


def q4(clean, attacked):
    lost = (clean & ~attacked).sum() / clean.sum()
    return [float(clean.sum() - attacked.sum()) / len(clean), float(lost)]


def q5(right):
    return float(right.min(0).values.sum()) / right.shape[1]


def q6(s, owner, wording):
    best = s.argmax(1).tolist()
    own = [set(wording[owner == i].tolist()) for i in range(len(s))]
    return sum(int(wording[m]) in mine for m, mine in zip(best, own, strict=True)) / len(s)


RIGHT = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5, "q6": q6}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answer(name):
    verdict = getattr(checks, name)(RIGHT[name])
    assert verdict.ok, repr(verdict)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("empty", [lambda *a: None, lambda *a: ...])
def test_stub(name, empty):
    assert getattr(checks, name)(empty).state == "empty"


@pytest.mark.parametrize("name", RIGHT)
def test_an_exception_is_told(name):
    def broken(*_):
        raise KeyError("lung")

    verdict = getattr(checks, name)(broken)
    assert verdict.state == "wrong"
    assert "KeyError: 'lung'" in verdict.message


def _pairs(before, after):
    return [(a, b) for a, b in zip(before.split(), after.split(), strict=False) if a != b]


def _same_length(before, after):
    return len(before.split()) == len(after.split())


def _count(before, after, words):
    return _same_length(before, after) and len(_pairs(before, after)) <= words


WRONG = [
    ("q1", lambda b, a, w, p: _count(b, a, w), "left and right are one word apart"),
    ("q1", lambda b, a, w, p: _count(b, a, w) and not any(x in p for x, _ in _pairs(b, a)), "only words that go"),
    ("q1", lambda b, a, w, p: _count(b, a, w) and not any(x in p for _, x in _pairs(b, a)), "only words that come"),
    (
        "q1",
        lambda b, a, w, p: len(_pairs(b, a)) <= w and not any(set(x) & p for x in _pairs(b, a)),
        "longer or shorter",
    ),
    ("q1", lambda b, a, w, p: q1(b, a, w, p) and len(_pairs(b, a)) < w, "fewer than"),
    ("q1", lambda b, a, w, p: q1(b, a, w, p) and len(_pairs(b, a)) == w, "exactly so many"),
    ("q1", lambda b, a, w, p: q1(b, a, 99, p), "any number of words"),
    ("q1", lambda b, a, w, p: q1(b, a, w, p) and not set(b.split()) & p, "no reason to refuse"),
    (
        "q1",
        lambda b, a, w, p: (
            _same_length(b, a)
            and max(len(set(b.split()) - set(a.split())), len(set(a.split()) - set(b.split()))) <= w
            and not (set(b.split()) ^ set(a.split())) & p
        ),
        "compares sets",
    ),
    ("q1", lambda b, a, w, p: "yes", "numbers are wanted"),
    ("q2", lambda t, k, g: divmod(int((g @ t.T).argmax()), len(t)), "not subtracted"),
    ("q2", lambda t, k, g: q2(t, k, -g), "smallest gain"),
    ("q2", lambda t, k, g: q2(t, k, g)[::-1], "wrong way round"),
    ("q2", lambda t, k, g: divmod(int(torch.cdist(t[k] + g, t).argmin()), len(t)), "nearest"),
    ("q2", lambda t, k, g: 3, "shape"),
    ("q3", lambda i, t, o: -q3(i, t, o), "the sign"),
    ("q3", lambda i, t, o: -((i @ t.T) * o).sum(1), "that is the sum"),
    ("q3", lambda i, t, o: -((i @ t.T) * o).sum(1) / o.shape[1], "all texts"),
    ("q3", lambda i, t, o: torch.stack([-(t[m][0] @ x) for x, m in zip(i, o, strict=True)]), "the pair, not the set"),
    ("q3", lambda i, t, o: -(i @ t.T).mean(1), "others too"),
    ("q3", lambda i, t, o: torch.stack([-(t[m] @ x).max() for x, m in zip(i, o, strict=True)]), "nearest own"),
    ("q3", lambda i, t, o: q3(i, t, o).mean(), "one number for the batch"),
    ("q4", lambda c, a: q4(c, a)[::-1], "wrong way round"),
    ("q4", lambda c, a: [float((c & ~a).double().mean()), q4(c, a)[1]], "repaired"),
    ("q4", lambda c, a: [q4(c, a)[0], float((~a).double().mean())], "wrong before"),
    ("q4", lambda c, a: [q4(c, a)[0], float((c & ~a).double().mean())], "divides by all"),
    ("q4", lambda c, a: [q4(c, a)[0], q4(c, a)[0] / float(c.double().mean())], "drop over the clean recall"),
    ("q4", lambda c, a: [1 - x for x in q4(c, a)], "survive"),
    ("q4", lambda c, a: [float(a.double().mean()), q4(c, a)[1]], "recall under attack"),
    ("q5", lambda r: r.double().mean(1).min(), "chooses once"),
    ("q5", lambda r: r.double().mean(), "at random"),
    ("q5", lambda r: r.any(0).double().mean(), "defender's choice"),
    ("q5", lambda r: r[-1].double().mean(), "last case"),
    ("q5", lambda r: r.all(0).sum(), "a count"),
    ("q5", lambda r: 1 - r.all(0).double().mean(), "attacker wins"),
    ("q6", lambda s, o, w: (o[s.argmax(1)] == torch.arange(len(s))).double().mean(), "twins count as mistakes"),
    ("q6", lambda s, o, w: q6(-s, o, w), "least similar"),
    ("q6", lambda s, o, w: 1 - q6(s, o, w), "share of mistakes"),
    ("q6", lambda s, o, w: len(s) * q6(s, o, w), "a count"),
    (
        "q6",
        lambda s, o, w: (w[s.argmax(1)] == torch.stack([w[o == i][0] for i in range(len(s))])).double().mean(),
        "first own text",
    ),
    ("q6", lambda s, o, w: (w[s.argmax(1)] == torch.arange(len(s))).double().mean(), "image numbers"),
    ("q6", lambda s, o, w: 0.123, "case 1 should give"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_answer_is_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict
    assert len(repr(verdict)) < 300
