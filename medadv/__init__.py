"""medadv: adversarial robustness of medical vision-language models, as a package and a course."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "load": "medadv.models",
    "VLM": "medadv.models.vlm",
    "ZeroShot": "medadv.models.head",
    "Threat": "medadv.threat",
    "TextThreat": "medadv.threat",
    "phantoms": "medadv.data.phantoms",
    "read_tidy": "medadv.data",
    "to_pixels": "medadv._images",
    "Batch": "medadv.types",
    "Score": "medadv.types",
    "Cost": "medadv.types",
    "AttackResult": "medadv.types",
    "quiet": "medadv._quiet",
    "fit": "medadv.train.loop",
    "Report": "medadv.reports.report",
}
_ROOMS = (
    "attacks",
    "certify",
    "course",
    "data",
    "evaluate",
    "models",
    "objective",
    "reports",
    "threat",
    "train",
    "types",
)

__all__ = ["__version__", *_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    # Late imports (PEP 562): `import medadv` costs nothing until something is used.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"medadv.{name}")
    raise AttributeError(f"module 'medadv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
