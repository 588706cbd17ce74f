"""Checks beside the exercises: they say what is wrong, not only that something is."""

from __future__ import annotations

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
             mistake that gives the same wrong values on all cases, else `help`.
    Raises   nothing: an exception of the answer is told in the message.
    Source   ours.
    """
    got = []
    for number, (*arguments, expected) in enumerate(cases):
        try:
            value = answer(*arguments)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            return Verdict(name, "wrong", f"your function stopped in case {number + 1} with {said}. {help}")
        if value is None or value is ...:
            return Verdict(name, "empty", "not yet answered.")
        problem = _form(value, expected)
        if problem:
            return Verdict(name, "wrong", problem)
        got.append(value)
    if all(_same(value, case[-1]) for value, case in zip(got, cases, strict=True)):
        return Verdict(name, "right", f"right in all {len(cases)} cases.")
    for message, mistake in wrong.items():
        if all(_same(value, _quietly(mistake, case[:-1])) for value, case in zip(got, cases, strict=True)):
            return Verdict(name, "wrong", message)
    first = next(i for i, case in enumerate(cases) if not _same(got[i], case[-1]))
    return Verdict(
        name,
        "wrong",
        f"case {first + 1} should give {_short(cases[first][-1])}, yours gives {_short(got[first])}. {help}",
    )


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _form(value: Any, expected: Any) -> str:
    """Say what is wrong with type or shape, if anything."""
    try:
        array = _array(value).astype(np.float64)
    except (TypeError, ValueError):
        return f"your function returns a {type(value).__name__}; numbers are wanted."
    if array.shape != _array(expected).shape:
        return f"your result has shape {array.shape}; {_array(expected).shape} is wanted."
    if np.isnan(array).any():
        return "your result holds nan: is something divided by zero, or the logarithm of zero taken?"
    return ""


def _same(value: Any, expected: Any) -> bool:
    if expected is None:
        return False
    a, b = _array(value).astype(np.float64), _array(expected).astype(np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))


def _quietly(function: Callable, arguments: tuple) -> Any:
    """A known mistake may itself fail on some case; then it is not the one we look for."""
    try:
        return function(*arguments)
    except Exception:
        return None


def _short(value: Any) -> str:
    array = np.round(_array(value).astype(np.float64), 3)
    text = np.array2string(array, threshold=8, separator=", ").replace("\n", " ")
    return text if len(text) < 80 else text[:77] + "..."
