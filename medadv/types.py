"""Values that travel between the rooms of the package.

Shape letters used in every docstring: B batch, N texts, K classes, D embedding, L tokens, H W pixels, G groups.
Images are float tensors (B, 3, H, W) in [0, 1] everywhere; resize and normalisation live inside `VLM.encode_image`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Score(NamedTuple):
    """What one forward pass says about each image: how well the attacker does, and whether it already won."""

    loss: Tensor
    """(B,) to be climbed by the attacker."""
    won: Tensor
    """(B,) bool."""


class Cost(NamedTuple):
    """What a result took. Passes are summed over images, so early leaving shows."""

    forwards: int = 0
    backwards: int = 0
    text_forwards: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Rows:
    """Slicing for frozen dataclasses whose fields all run over the same rows."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, rows):
        """Return the same kind of value for a part of the rows: a slice, a list of ints, a bool or int tensor."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]
        rows = torch.as_tensor(rows)
        if rows.ndim == 0:
            raise TypeError("The 'rows' parameter of slicing must be a slice or a list; got one int. Write x[[i]].")
        if rows.dtype == torch.bool and len(rows) != len(self):
            raise IndexError(
                f"The 'rows' parameter of slicing must be a mask of {len(self)} rows; got one of {len(rows)}."
            )
        # as_tensor([]) is a tensor of floats, which cannot index.
        where = rows.nonzero().flatten() if rows.dtype == torch.bool else rows if len(rows) else rows.long()
        part: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                part[field.name] = value[where.to(value.device)]
            elif isinstance(value, (list, tuple)) and not isinstance(value, Cost):
                part[field.name] = type(value)(value[i] for i in where.tolist())
        return replace(self, **part)


@dataclass(frozen=True)
class Batch(_Rows):
    """A part of an image-text data set, ready for a model.

    Every field but `image` and `index` may be None where the data do not say; -1 in `label` or `group` means unknown.
    """

    image: Tensor
    """(B, 3, H, W) float in [0, 1]."""
    index: Tensor
    """(B,) int64, the row in the data set: histories such as pair mining need it."""
    text: list[str] | None = None
    """B captions, one drawn for each image."""
    label: Tensor | None = None
    """(B,) int64 class."""
    group: Tensor | None = None
    """(B,) int64 protected group."""
    mask: Tensor | None = None
    """(B, 1, H, W) float, 1 inside the lesion."""

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with all tensors on the device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in held.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def __repr__(self) -> str:
        has = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        return f"Batch({len(self)} images {tuple(self.image.shape[1:])}; {', '.join(has)})"


@dataclass(frozen=True)
class AttackResult(_Rows):
    """What an attack found: for each image the first point that won, else the one of highest loss."""

    image: Tensor
    """(B, 3, H, W) in [0, 1]."""
    won: Tensor
    """(B,) bool."""
    loss: Tensor
    """(B,) at `image`."""
    cost: Cost = Cost()
    text: list[str] | None = None
    """B adversarial texts, for attacks that change words too."""

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        c = self.cost
        return (
            f"AttackResult({int(self.won.sum())}/{len(self)} won, {c.forwards}+{c.backwards} passes, {c.seconds:.1f} s)"
        )
