"""A long study kept in parts: one safetensors file for each batch, so that it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medadv._atomic import write_bytes
from medadv._fingerprint import digest, told_apart

Part = dict[str, Tensor]


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
        with safe_open(str(file), framework="pt") as opened:
            same = (opened.metadata() or {}).get("key") == key
            part = {name: opened.get_tensor(name) for name in opened.keys()} if same else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"The file {file} is damaged ({error}). Delete it; the batch is then attacked again."
        ) from error
    if not same or not _alike(part.get("clean"), clean):
        raise ValueError(
            f"The 'folder' parameter of attacked must be new, or of the same study; {file} was made with another "
            "model, other data or other settings. Choose another folder, or delete it."
        )
    return part


def _alike(there: Tensor | None, here: Tensor) -> bool:
    return there is not None and there.shape == here.shape and torch.allclose(there, here, rtol=1e-2, atol=1e-2)


def write_part(folder: Path | None, start: int, part: Part, *, key: str) -> None:
    """Write a part, whole or not at all."""
    if folder is not None:
        whole = {name: tensor.contiguous() for name, tensor in part.items()}
        write_bytes(folder / f"{start:06d}.safetensors", save(whole, metadata={"key": key}))
