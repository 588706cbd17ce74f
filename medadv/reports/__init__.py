"""Reports: whole evaluations in one call, as tables with intervals that carry how they were made.

`from medadv.reports import attacked, head_report` gives functions. `doctor`, `retrieval`, `robustness` and the others
of `_MODULES` are always the modules of that name, whatever was imported before; the function of the doctor is
`medadv.reports.doctor.doctor`. Pages for a browser are in `medadv.reports.html`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Report": "report",
    "provenance": "report",
    "ask": "classification",
    "classify_report": "classification",
    "head_report": "classification",
    "predict": "classification",
    "adapt_report": "adaptation",
    "folds_report": "adaptation",
    "within": "adaptation",
    "Attacked": "robustness",
    "attacked": "robustness",
    "attacked_within": "robustness",
    "AttackedPairs": "retrieval",
    "attacked_pairs": "retrieval",
    "retrieve_report": "retrieval",
    "under_attack": "retrieval",
    "Certified": "certification",
    "certified_report": "certification",
    "compare_heads": "certification",
    "Flag": "doctor",
    "save_certified": "html.certification",
    "save_page": "html.robustness",
}
_MODULES = (
    "adaptation",
    "certification",
    "classification",
    "doctor",
    "html",
    "report",
    "retrieval",
    "robustness",
)

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    # Late imports (PEP 562), as in medadv itself: a table costs no attack.
    if name in _HOME:
        return getattr(importlib.import_module(f"medadv.reports.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"medadv.reports.{name}")
    raise AttributeError(f"module 'medadv.reports' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
