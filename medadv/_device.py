"""Where to compute: device names, number formats, and the autocast context that goes with them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def pick(device: str | torch.device = "auto") -> torch.device:
    """Choose the device: the one named, or the best there is (cuda, then mps, then cpu).

    Shapes   none.
    Units    none.
    Returns  torch.device. For auto and cuda, a process that a launcher numbered (LOCAL_RANK) gets a card of its own.
    Raises   ValueError if the named device is not known or not on this machine.
    Source   ours.
    """
    if str(device) in ("auto", "cuda") and torch.cuda.is_available():
        local = os.environ.get("LOCAL_RANK")
        return torch.device("cuda" if local is None else f"cuda:{int(local) % torch.cuda.device_count()}")
    if str(device) == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"The 'device' parameter must be auto, cpu, cuda, cuda:N or mps; got {device!r}. Use auto."
        ) from error
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(found.type, False):
        raise ValueError(f"The 'device' parameter must be a device of this machine; got {device!r}. Use cpu or auto.")
    return found


def device_of(modules: Iterable[nn.Module]) -> torch.device:
    """Find where modules compute: the device of the first weight or buffer.

    Shapes   none.
    Units    none.
    Returns  torch.device; the CPU where there is none.
    Raises   nothing.
    Source   ours.
    """
    held = (one for module in modules for one in (*module.parameters(), *module.buffers()))
    return next((one.device for one in held), torch.device("cpu"))


def dtype_of(name: str | torch.dtype | None) -> torch.dtype:
    """Read a number format: float32 (fp32), bfloat16 (bf16) or float16 (fp16); None is float32.

    Shapes   none.
    Units    none.
    Returns  torch.dtype.
    Raises   ValueError for any other name.
    Source   ours.
    """
    if name is None:
        return torch.float32
    full = str(name).removeprefix("torch.")
    full = _SHORT.get(full, full)
    if full not in _DTYPES:
        raise ValueError(
            f"The 'dtype' parameter must be one of {sorted(_DTYPES)}; got {name!r}. Use bfloat16 or float32."
        )
    return _DTYPES[full]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """Return the context under which the towers run: nothing for float32, torch.autocast otherwise.

    Shapes   none.
    Units    none.
    Returns  a context manager.
    Raises   nothing.
    Source   torch.autocast; embeddings, losses and steps stay in float32 outside it.
    """
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
