"""Tensors that a long run keeps so that it goes on where it stopped, and the facts that say which run they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medadv._atomic import write_bytes

State = dict[str, Tensor]
DAMAGED = (SafetensorError, OSError)
"""What reading a file that is cut short or none of ours raises."""


def write_state(path: str | Path, state: Mapping[str, Tensor], **facts: str) -> Path:
    """Write tensors with a few facts beside them, whole or not at all."""
    return write_bytes(path, save({name: one.contiguous() for name, one in state.items()}, metadata=facts))


def read_state(path: str | Path) -> tuple[State, dict[str, str]]:
    """Read tensors and the facts beside them; one of DAMAGED is raised for a file that is neither whole nor ours."""
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def alike(there: Tensor | None, here: Tensor) -> bool:
    """Say whether the logits of a kept run and of this one are those of one head, give or take another machine."""
    if there is None or there.shape != here.shape:
        return False
    return torch.allclose(there, here.to(there.device), rtol=1e-2, atol=1e-2, equal_nan=True)
