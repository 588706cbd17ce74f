"""The file of a suite: where it stands, whole or not there at all, and refused where it belongs to another run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from medadv._fingerprint import digest, told_apart
from medadv._resume import DAMAGED, State, alike, read_state, write_state
from medadv.types import Cost


class SuiteFile:
    """Keeps the state of a run. Without a path it keeps nothing.

    `compare` is False for heads that answer at random, whose margins are never the same again.
    """

    def __init__(
        self, path: str | Path | None, head: Any, attacks: Mapping[str, Any], image: Tensor, label: Tensor,
        settings: tuple, *, compare: bool,
    ):  # fmt: skip
        self.path, self.compare = None if path is None else Path(path), compare
        if self.path is None:
            return
        self.marks = {
            "another head": told_apart(head, name="head", where="suite", what="it"),
            "other images": digest(image),
            "other labels": digest(label),
            "other attacks": told_apart(dict(attacks), name="attacks", where="suite", what="one of them"),
            "other settings": json.dumps([list(attacks), settings]),
        }
        self._next = 0.0

    def load(self, state: State) -> tuple[State, tuple[int, int], Cost] | None:
        """Return what is there: the state, the place in the plan (attack, batch), and the cost; None for no file."""
        if self.path is None or not self.path.exists():
            return None
        told = f"The 'file' parameter of suite must name a new file or one of this run; got {str(self.path)!r}, "
        remedy = " Delete it or name another file."
        try:
            held, facts = read_state(self.path)
            about = json.loads(facts["suite"])
            marks, (number, batch), cost = dict(about["marks"]), map(int, about["place"]), Cost(*about["cost"])
            if number < 0 or batch < 0:
                raise ValueError("a place that cannot be")
        except (*DAMAGED, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{told}which is no file of suite ({type(error).__name__}).{remedy}") from error
        other = [name for name, mark in self.marks.items() if marks.get(name) != mark]
        if other:
            raise ValueError(f"{told}which was made with {' and '.join(other)}.{remedy}")
        if {k: (v.shape, v.dtype) for k, v in held.items()} != {k: (v.shape, v.dtype) for k, v in state.items()}:
            raise ValueError(f"{told}whose tensors have other shapes.{remedy}")
        if self.compare and not alike(held["clean"], state["clean"]):
            raise ValueError(f"{told}which was made with another head.{remedy}")
        return {k: v.to(state[k].device) for k, v in held.items()}, (number, batch), cost

    def save(self, state: State, place: tuple[int, int], cost: Cost, *, last: bool = False) -> None:
        """Write the state, unless writing would take more than a twentieth of the time."""
        began = time.perf_counter()
        if self.path is None or (began < self._next and not last):
            return
        about = json.dumps({"marks": self.marks, "place": place, "cost": list(cost)})
        write_state(self.path, state, suite=about)
        now = time.perf_counter()
        self._next = now + 20 * (now - began)
