"""A long study kept in parts: one safetensors file for each batch, so that it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from medadv._fingerprint import digest, told_apart
from medadv._resume import DAMAGED, alike, read_state, write_state
from medadv._resume import State as Part


def key_of(head: Any, calls: Any, **facts: Any) -> str:
    """Return a short name for everything that a part depends on but its images."""
    made_by = [
        told_apart(head, name="head", where="attacked", what="it"),
        told_apart(calls, name="attacks", where="attacked", what="one of them"),
    ]
    return digest((made_by, json.dumps(facts, sort_keys=True, default=str)))


def read_part(folder: Path | None, start: int, *, key: str, clean: Tensor) -> Part | None:
    """Read the part that begins at a row, or None; refuse one of another study, another model or other images."""
    file = None if folder is None else folder / f"{start:06d}.safetensors"
    if file is None or not file.is_file():
        return None
    try:
        part, facts = read_state(file)
    except DAMAGED as error:
        raise ValueError(
            f"The file {file} is damaged ({error}). Delete it; the batch is then attacked again."
        ) from error
    if facts.get("key") != key or not alike(part.get("clean"), clean):
        raise ValueError(
            f"The 'folder' parameter of attacked must be new, or of the same study; {file} was made with another "
            "model, other data or other settings. Choose another folder, or delete it."
        )
    return part


def write_part(folder: Path | None, start: int, part: Part, *, key: str) -> None:
    """Write a part, whole or not at all."""
    if folder is not None:
        write_state(folder / f"{start:06d}.safetensors", part, key=key)
