"""Image-text data: phantoms made by code, and folders of real images in one tidy format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from medadv._registry import nearest
from medadv.data import phantoms
from medadv.data.pairs import Pairs, Row
from medadv.data.phantoms import Controls
from medadv.data.tidy import read_tidy

# The function that makes phantoms is `medadv.phantoms`; here its name belongs to the package medadv.data.phantoms.
__all__ = ["Controls", "Pairs", "Row", "folders", "load", "read_tidy"]

_HELD_OUT = 1_000_000
"""Phantoms from this number on are never trained on."""


def folders() -> dict[str, Path]:
    """Find the tidy folders below the directory named by the MEDADV_DATA environment variable.

    Shapes   none.
    Units    none.
    Returns  names to paths, empty where the variable is not set.
    Raises   nothing.
    Source   ours.
    """
    root = Path(os.environ.get("MEDADV_DATA", "")) if os.environ.get("MEDADV_DATA") else None
    if root is None or not root.is_dir():
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if (path / "metadata.csv").is_file()}


def load(
    name: str | Path,
    *,
    size: int = 64,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
    label: str = "label",
    **options: Any,
) -> Pairs:
    """Open a data set: "phantoms", a folder with a metadata.csv, or the name of such a folder below MEDADV_DATA.

    Shapes   images (3, size, size).
    Units    size in pixels; images in [0, 1].
    Returns  Pairs; of real images all, or n drawn by the seed; of phantoms n (1,000 unless told) held-out ones, or
             of the train stream for split="train". Further options (window, bits, mask, uncertain, blank, group,
             caption) are those of read_tidy.
    Raises   ValueError for an unknown name, FileNotFoundError for a folder without metadata.csv.
    Source   ours.
    """
    if str(name) == "phantoms":
        starts = {None: _HELD_OUT, "test": _HELD_OUT, "val": 2 * _HELD_OUT, "train": 0}
        if split not in starts:
            raise ValueError(f"The 'split' parameter of load must be train, val or test for phantoms; got {split!r}.")
        if options:
            raise ValueError(
                f"The '{next(iter(options))}' parameter of load must be left out for phantoms. Take a folder."
            )
        return phantoms.phantoms(1000 if n is None else n, seed=seed, size=size, start=starts[split])
    known = folders()
    path = known.get(str(name), Path(name))
    if not path.exists():
        near = nearest(str(name), ["phantoms", *known])
        hint = f"Did you mean {', '.join(near)}?" if near else "Give a folder, or set MEDADV_DATA to where they lie."
        raise ValueError(f"There is no data set or folder named {str(name)!r}. {hint}")
    found = read_tidy(path, size=size, split=split, label=label, **options)
    if n is None or n >= len(found):
        return found
    # The first rows of a real set are often one source; a sample drawn by the seed is not.
    return found.select(np.sort(np.random.default_rng(seed).permutation(len(found))[:n]).tolist())
