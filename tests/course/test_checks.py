"""What holds for the check of every exercise: no traceback, no leaked formula, no spoilt argument."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from medadv.course.ch01 import checks as ch01
from medadv.course.ch02 import checks as ch02
from medadv.course.ch03 import checks as ch03
from medadv.course.ch09 import checks as ch09
from medadv.course.ch10 import checks as ch10
from medadv.course.checks import Verdict

QUESTIONS = [
    pytest.param(getattr(chapter, name), id=f"{chapter.__name__.split('.')[-2]}.{name}")
    for chapter in (ch01, ch02, ch03, ch09, ch10)
    for name in ("q1", "q2", "q3", "q4", "q5", "q6", "q7")
    if hasattr(chapter, name)
]


class Odd:
    """An object on which every conversion fails."""

    def detach(self):
        raise RuntimeError("no")

    def __len__(self):
        raise OSError("no")


RETURNED = {
    "a word": "effusion",
    "a word that looks like a number": "0.5",
    "words": ["p00", "p01"],
    "bytes": b"1",
    "nothing in a list": [None],
    "a ragged list": [[1.0], [1.0, 2.0]],
    "a dictionary": {"a": 1},
    "a set": {1, 2},
    "a class": Odd,
    "an odd object": Odd(),
    "a generator": (i for i in range(3)),
    "an empty list": [],
    "a complex number": 1 + 2j,
    "words as an array": np.array(["1", "2"]),
    "objects": np.array([object()]),
    "tensors that want a gradient": [torch.ones(2, requires_grad=True) * 2] * 3,
    "a complex tensor": torch.ones(2, dtype=torch.complex64),
    "another shape": torch.zeros(7, 5, 3),
    "not a number": float("nan"),
    "without end": float("inf"),
    "half precision": torch.zeros(3, dtype=torch.bfloat16),
    "a very large whole number": 10**400,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_odd_result_is_told_in_a_sentence(question):
    for what, value in RETURNED.items():
        verdict = question(lambda *_, value=value: value)
        assert isinstance(verdict, Verdict), what
        assert verdict.state == "wrong", what
        assert verdict.message.strip().endswith((".", "?")), what
        assert len(repr(verdict)) < 320, what


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_that_is_no_function_is_told(question):
    for answer in (3, "text", torch.zeros(3), [1, 2], {}):
        verdict = question(answer)
        assert verdict.state == "wrong"
        assert "the function itself" in verdict.message


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_answer_is_empty(question):
    for answer in (None, ...):
        assert question(answer).state == "empty"


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_long_exception_is_cut(question):
    def broken(*_):
        raise ValueError("x" * 5000 + "\nand more")

    verdict = question(broken)
    assert "ValueError: xxx" in verdict.message
    assert len(verdict.message) < 320


CODE = re.compile(r"[@=]|\*\*|[\w)] [*/] [\w(]|\bppf\b|\bcdf\b|sqrt|argmax|\w\(\w|\[\w")


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_fallback_never_shows_the_formula(question):
    def broken(*_):
        raise ArithmeticError("zero")

    said = question(broken).message.partition("ArithmeticError: zero. ")[2]
    assert not CODE.search(said), said
    assert "%" not in said


def test_the_pattern_finds_the_formulas_that_were_shown_once():
    for shown in (
        "sigma * norm.ppf(beta.ppf(alpha, count, n - count + 1)), never < 0.",
        "sqrt(d) * delta = r with d = 3 * size * size; then times 255.",
        "alpha ** (1 / n) must reach Phi(r / sigma); solve for n, round up.",
        "For each image: the mean of image @ text over its own, times -1.",
    ):
        assert CODE.search(shown)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_that_writes_into_its_arguments_is_judged_on_its_result(question):
    """Two calls of the same check say the same, whatever the first answer did to what it was given."""

    def spoil(*arguments):
        for one in arguments:
            if isinstance(one, (torch.Tensor, np.ndarray)):
                one[...] = 0
            elif isinstance(one, (list, set)):
                one.clear()
        return 0.0

    assert question(spoil) == question(lambda *_: 0.0)


def test_a_function_that_forgets_to_return_in_some_cases_is_told():
    verdict = ch09.q1(lambda k, n, s, a: 0.2 if k == 90 else None)
    assert verdict.state == "wrong"
    assert "returns nothing in case 2" in verdict.message


def test_a_named_mistake_is_named_even_where_its_shape_is_wrong():
    verdict = ch03.q3(lambda image, text, own: (-((image @ text.T) * own).sum(1) / own.sum(1)).mean())
    assert "one number for the batch" in verdict.message
