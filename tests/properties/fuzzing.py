"""What the fuzz tests share: how many inputs, and what an answer to a bad one must look like."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("MEDADV_FUZZ", "120"))
"""Inputs for each fuzz test; `MEDADV_FUZZ=5000 pytest tests/properties` is the long run, which draws new inputs."""

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


def answers_or_refuses(call: Callable[[], Any]) -> Any:
    """Run a reader on a bad input: it may succeed, or raise ValueError with one clear sentence and a remedy."""
    try:
        return call()
    except ValueError as error:
        if type(error) is not ValueError:  # a UnicodeDecodeError is one too, and no sentence
            raise
        check_sentence(str(error))
        return None


def check_sentence(message: str) -> None:
    """One line that starts with a capital, a quote or a file name, says what is wrong, and what helps."""
    assert message, "an error without a word"
    assert "\n" not in message, f"more than one line: {message!r}"
    assert len(message) <= 700, f"{len(message)} characters: {message[:200]!r} ..."
    assert message.rstrip()[-1] in ".?!)", f"no end of a sentence: {message!r}"
    assert len(re.findall(r"[.;?!:](?:\s|$)", message)) >= 2, f"no remedy: {message!r}"
    assert "Traceback" not in message
    assert "object at 0x" not in message
