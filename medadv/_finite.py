"""Numbers that are none: a model that broke down is refused by name, and never scored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SHOWN = 5
"""So many rows are named; of the others, how many."""


def check_finite(values: Tensor, what: str, *, rows: str = "rows", remedy: str = "") -> Tensor:
    """Refuse values that are NaN or infinite, and name the rows that hold them.

    Shapes   values (N, ...), one row for each image or text.
    Units    none.
    Returns  the same tensor.
    Raises   ValueError that names the rows.
    Source   ours.
    """
    bad = (~values.detach().flatten(1).isfinite()).any(1).nonzero().flatten().tolist() if values.numel() else []
    if bad:
        raise ValueError(
            f"{what} must be finite numbers; got NaN or infinity for {rows} {named(bad)} of {len(values)}. "
            f"{remedy or 'Check the weights of the model, and use float32 or bfloat16.'}"
        )
    return values


def named(numbers: Any) -> str:
    """Write a list of row numbers, the first few by name."""
    numbers = torch.as_tensor(numbers).tolist()
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return ", ".join(map(str, numbers[:SHOWN])) + more
