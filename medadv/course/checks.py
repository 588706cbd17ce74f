"""Checks beside the exercises: they say what is wrong, not only that something is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What a check says; `state` is right, wrong or empty (not yet answered)."""

    name: str
    state: str
    message: str

    @property
    def ok(self) -> bool:
        """True if the answer is right."""
        return self.state == "right"

    def __repr__(self) -> str:
        return f"{self.name}: {self.message}"


def judge(name: str, answer: Callable, cases: list[tuple], wrong: dict[str, Callable], *, help: str) -> Verdict:
    """Compare an answer with the right one on given cases and name the mistake where it is a known one.

    Shapes   each case is the tuple of arguments of one call followed by the expected value.
    Units    none; values agree within 1e-4 absolute plus 1e-4 relative.
    Returns  a Verdict: empty if the stub is unfilled, right, or wrong with the message of the first known
             mistake that gives the same wrong values on all cases, else the symptom and `help`.
    Raises   nothing: an exception of the answer is told in the message. An answer gets copies of its
             arguments, so one that writes into them spoils no later case.
    Source   ours.
    """
    got = []
    for number, (*arguments, _) in enumerate(cases):
        value, problem = ask(name, answer, tuple(arguments), number=number, help=help)
        if problem is not None:
            return problem
        got.append(value)
    arrays = [_array(value) for value in got]
    if all(_same(value, case[-1]) for value, case in zip(arrays, cases, strict=True)):
        return Verdict(name, "right", f"right in all {len(cases)} cases.")
    for message, mistake in wrong.items():
        if all(_same(value, _quietly(mistake, case[:-1])) for value, case in zip(arrays, cases, strict=True)):
            return Verdict(name, "wrong", message)
    for value, array, case in zip(got, arrays, cases, strict=True):
        misshapen = _form(value, array, case[-1])
        if misshapen:
            return Verdict(name, "wrong", misshapen)
    first = next(i for i, case in enumerate(cases) if not _same(arrays[i], case[-1]))
    return Verdict(
        name,
        "wrong",
        f"case {first + 1} should give {_short(cases[first][-1])}, yours gives {_short(arrays[first])}. {help}",
    )


def ask(
    name: str, answer: Callable, arguments: tuple, *, number: int = 0, help: str = ""
) -> tuple[Any, Verdict | None]:
    """Call an answer on copies of its arguments.

    Shapes   as the exercise says.
    Units    none; number counts the cases from 0.
    Returns  (value, None), or (None, a Verdict) where there is no value to judge.
    Raises   nothing.
    Source   ours.
    """
    if answer is None or answer is ...:
        return None, Verdict(name, "empty", "not yet answered.")
    if not callable(answer):
        given = type(answer).__name__
        return None, Verdict(name, "wrong", f"the check wants the function itself, without calling it; got a {given}.")
    try:
        value = answer(*copy.deepcopy(arguments))
    except Exception as error:
        said = f"{type(error).__name__}: {error}".split("\n")[0]
        said = said if len(said) < 120 else said[:117] + "..."
        return None, Verdict(name, "wrong", f"your function stopped in case {number + 1} with {said}. {help}".strip())
    if value is None or value is ...:
        if number:
            return None, Verdict(name, "wrong", f"your function returns nothing in case {number + 1}.")
        return None, Verdict(name, "empty", "not yet answered.")
    return value, None


def _array(value: Any) -> np.ndarray | None:
    """Return the numbers of a value, or None if it is something else; words that look like numbers are no numbers."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        elif isinstance(value, (list, tuple)):
            value = [one.detach().cpu().numpy() if hasattr(one, "detach") else one for one in value]
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind in "biuf" else None
    except Exception:  # any object may be returned, and its conversion may fail in any way
        return None


def _form(value: Any, array: np.ndarray | None, expected: Any) -> str:
    """Say what is wrong with type or shape, if anything."""
    if array is None:
        return f"your function returns a {type(value).__name__}; numbers are wanted."
    wanted = np.shape(expected)
    if array.shape != wanted:
        return f"your result has shape {array.shape}; {wanted} is wanted."
    if np.isnan(array).any():
        return "your result holds nan: is something divided by zero, or the logarithm of zero taken?"
    return ""


def _same(value: np.ndarray | None, expected: Any) -> bool:
    a, b = value, _array(expected)
    if a is None or b is None:
        return False
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))


def _quietly(function: Callable, arguments: tuple) -> Any:
    """A known mistake may itself fail on some case; then it is not the one we look for."""
    try:
        return function(*copy.deepcopy(arguments))
    except Exception:
        return None


def _short(value: Any) -> str:
    array = np.round(np.asarray(value, dtype=np.float64), 3)
    text = np.array2string(array, threshold=8, separator=", ").replace("\n", " ")
    return text if len(text) < 80 else text[:77] + "..."
