"""The file of a suite: where it stands, whole or not there at all, and refused where it belongs to another run."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medadv._atomic import write_bytes
from medadv.types import Cost

State = dict[str, Tensor]


class SuiteFile:
    """Keeps the state of a run. Without a path it keeps nothing."""

    def __init__(self, path: str | Path | None, image: Tensor, label: Tensor, settings: tuple, *, compare: bool):
        self.path, self.compare = None if path is None else Path(path), compare
        if self.path is None:
            return
        self.marks = {"images": _hash(image), "labels": _hash(label), "settings": json.dumps(settings, default=str)}
        self._next = 0.0

    def load(self, state: State) -> tuple[State, tuple[int, int], Cost] | None:
        """Return what is there: the state, the place in the plan (attack, batch), and the cost; None for no file."""
        if self.path is None or not self.path.exists():
            return None
        told = f"The 'file' parameter of suite must name a new file or one of this run; got {str(self.path)!r}, "
        remedy = " Delete it or name another file."
        try:
            with safe_open(self.path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["suite"])
                held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            marks, place, cost = about["marks"], about["place"], Cost(*about["cost"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{told}which is no file of suite ({type(error).__name__}).{remedy}") from error
        other = [name for name, mark in self.marks.items() if marks.get(name) != mark]
        if other:
            raise ValueError(f"{told}which was made with other {' and '.join(other)}.{remedy}")
        if {k: (v.shape, v.dtype) for k, v in held.items()} != {k: (v.shape, v.dtype) for k, v in state.items()}:
            raise ValueError(f"{told}whose tensors have other shapes.{remedy}")
        clean, now = held["clean"], state["clean"]
        # A head that answers at random never gives the same margins again.
        if self.compare and not torch.allclose(clean, now.to(clean.device), rtol=1e-2, atol=1e-2, equal_nan=True):
            raise ValueError(f"{told}which was made with another head.{remedy}")
        return {k: v.to(state[k].device) for k, v in held.items()}, (int(place[0]), int(place[1])), cost

    def save(self, state: State, place: tuple[int, int], cost: Cost, *, last: bool = False) -> None:
        """Write the state, unless writing would take more than a twentieth of the time."""
        began = time.perf_counter()
        if self.path is None or (began < self._next and not last):
            return
        about = json.dumps({"marks": self.marks, "place": place, "cost": list(cost)})
        write_bytes(self.path, save({k: v.contiguous() for k, v in state.items()}, metadata={"suite": about}))
        now = time.perf_counter()
        self._next = now + 20 * (now - began)


def _hash(tensor: Tensor) -> str:
    tensor = tensor.detach().cpu().contiguous()
    told = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    told.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return told.hexdigest()
