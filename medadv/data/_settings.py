"""What a folder declares of itself in folder.json: the scale of deep pictures, masks, what uncertain labels mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medadv._atomic import write_text
from medadv._images import scale_of
from medadv.data._masks import Structures, checked_structures

NAME = "folder.json"
KINDS = ("unknown", "positive", "negative")


@dataclass(frozen=True)
class Settings:
    """Declared once for all files of a folder."""

    scale: tuple[float, float] | None = None
    """The values that become 0 and 1 in pictures deeper than 8 bits."""
    mask: Structures | None = None
    uncertain: str = "unknown"
    """Meaning of -1 in a column of 1, 0, -1 and blank."""
    blank: str = "unknown"
    """Meaning of an empty cell there."""


def read_settings(folder: Path, **options: Any) -> Settings:
    """Return what folder.json declares; options that are given (not None) win over it."""
    path = folder / NAME
    declared = _read(path) if path.is_file() else {}
    given = {key: value for key, value in options.items() if value is not None}
    if "window" in given or "bits" in given:
        declared = {key: value for key, value in declared.items() if key not in ("window", "bits")}
    whole = {**declared, **given}

    def where(key: str) -> str:
        return f"The '{key}' parameter of read_tidy" if key in given else f"The entry '{key}' of {path}"

    try:
        scale = scale_of(whole.get("window"), whole.get("bits"), "read_tidy")
    except ValueError as error:
        if "window" in given or "bits" in given:
            raise
        raise ValueError(f"{path}: {error}") from error
    for key in ("uncertain", "blank"):
        if whole.get(key, "unknown") not in KINDS:
            raise ValueError(f"{where(key)} must be one of {', '.join(KINDS)}; got {str(whole[key])[:40]}. Choose one.")
    mask = whole.get("mask")
    if isinstance(mask, str):
        named = checked_structures(declared.get("mask"), f"The entry 'mask' of {path}") or {}
        if mask not in named:
            raise ValueError(
                f"{where('mask')} must be one of the structures that {NAME} declares ({', '.join(named) or 'none'}); "
                f"got {mask[:40]!r}. Declare it there, or pass mask={{name: value}}."
            )
        mask = {mask: named[mask]}
    return Settings(
        scale, checked_structures(mask, where("mask")), whole.get("uncertain", "unknown"), whole.get("blank", "unknown")
    )


def declare(folder: Path, **entries: Any) -> Path:
    """Write entries into folder.json beside those that are there; a checked file, or none."""
    path = folder / NAME
    declared = _read(path) if path.is_file() else {}
    if "window" in entries or "bits" in entries:
        declared = {key: value for key, value in declared.items() if key not in ("window", "bits")}
    read_settings(folder, **entries)
    return write_text(path, json.dumps({**declared, **entries}, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({str(error)[:100]}). Mend or delete it.") from error
    known = ("window", "bits", "mask", "uncertain", "blank")
    if not isinstance(found, dict) or set(found) - set(known):
        raise ValueError(f"{path} must be an object with entries of {', '.join(known)}. Mend or delete it.")
    return {key: value for key, value in found.items() if value is not None}
