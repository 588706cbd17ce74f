"""Evaluation: metrics with intervals, and reports that carry how they were made.

`from medadv.evaluate import accuracy, classify_report` gives functions. `attacked`, `doctor`, `certified`, `retrieval`
and `under_attack` are always the modules of that name, whatever was imported before; functions that are called like
their module are taken from it: `from medadv.evaluate.attacked import attacked`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Estimate": "intervals",
    "accuracy": "metrics",
    "auc": "metrics",
    "balanced_accuracy": "metrics",
    "bootstrap": "intervals",
    "confusion": "metrics",
    "macro_auc": "metrics",
    "paired_difference": "metrics",
    "sensitivity_specificity": "metrics",
    "wilson": "intervals",
    "recall_at_k": "retrieval",
    "same_meaning": "retrieval",
    "Report": "report",
    "provenance": "report",
    "predict": "study",
    "head_report": "study",
    "classify_report": "study",
    "retrieve_report": "study",
    "ask": "asking",
    "adapt_report": "adapted",
    "folds_report": "adapted",
    "within": "adapted",
    "Attacked": "attacked",
    "attacked_within": "attacked",
    "Flag": "doctor",
    "Certified": "certified",
    "certified_report": "certified",
    "compare_heads": "certified",
    "save_page": "page",
}
_MODULES = (
    "adapted",
    "asking",
    "attacked",
    "certified",
    "doctor",
    "intervals",
    "metrics",
    "page",
    "pictures",
    "report",
    "retrieval",
    "study",
    "under_attack",
)

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    # Late imports (PEP 562), as in medadv itself: a metric costs no attack.
    if name in _HOME:
        return getattr(importlib.import_module(f"medadv.evaluate.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"medadv.evaluate.{name}")
    raise AttributeError(f"module 'medadv.evaluate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
