"""Evaluation: numbers with intervals. What puts them into reports is in `medadv.reports`.

`from medadv.evaluate import accuracy, wilson` gives functions; `intervals`, `metrics` and `retrieval` are the modules.
"""

from __future__ import annotations

import importlib
import warnings
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
}
_MODULES = ("intervals", "metrics", "retrieval")
# Names that are in medadv.reports now; their old place goes in 0.3.
_MOVED = ("Report", "attacked", "doctor", "head_report", "retrieve_report")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    # Late imports (PEP 562), as in medadv itself: an interval costs no metric.
    if name in _HOME:
        return getattr(importlib.import_module(f"medadv.evaluate.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"medadv.evaluate.{name}")
    if name in _MOVED:
        told = f"medadv.evaluate.{name} has moved: use medadv.reports.{name}. The old name goes in version 0.3."
        warnings.warn(told, FutureWarning, stacklevel=2)
        return getattr(importlib.import_module("medadv.reports"), name)
    raise AttributeError(f"module 'medadv.evaluate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
