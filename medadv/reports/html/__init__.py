"""Reports as web pages that stand alone: tables and pictures inside, nothing loaded from outside."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "page": "robustness",
    "save_page": "robustness",
    "summary": "robustness",
    "curves": "certification",
    "save_certified": "certification",
    "found_table": "retrieval",
    "page_pairs": "retrieval",
    "short": "tables",
    "table": "tables",
    "gallery": "pictures",
    "png": "pictures",
}
_MODULES = ("certification", "pictures", "retrieval", "robustness", "tables")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    # Late imports (PEP 562): a table of a report needs no page.
    if name in _HOME:
        return getattr(importlib.import_module(f"medadv.reports.html.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"medadv.reports.html.{name}")
    raise AttributeError(f"module 'medadv.reports.html' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
