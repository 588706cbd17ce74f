"""An image-text data set as one value: rows that are known at once, images that are made or decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from medadv.types import Batch


@dataclass(frozen=True)
class Row:
    """Everything that is known of one image without looking at it."""

    label: int
    """Class number, -1 unknown."""
    captions: tuple[str, ...]
    """All true captions of this image, differently worded; none names a protected attribute."""
    patient: str
    """Rows of one patient never cross a split."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Protected attributes and other facts by name, for example sex, age_group, appearance; missing means unknown."""
    split: str = ""
    """train, val, test or empty."""
    severity: float = float("nan")
    """In [0, 1] where the data say so."""
    name: str = ""
    """File name, or a readable id."""


@dataclass(frozen=True)
class Pairs:
    """An image-text data set: a sequence of rows and a function that makes the picture of row i.

    `load(i)` returns (image (3, H, W) float in [0, 1], mask (1, H, W) float or None); it must depend on i alone.
    """

    name: str
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    load: Callable[[int], tuple[Tensor, Tensor | None]]
    prompts: tuple[str, ...] = ()
    """One phrase for each class, to be put into zero-shot templates; `classes` where empty."""
    group_by: str = ""
    """Name of the attribute behind `Batch.group`; empty for no group."""
    domains: tuple[str, ...] = ()
    """For each class the imaging modality it belongs to, where there are several."""

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Pairs({self.name}: {len(self)} images, {len(self.classes)} classes)"

    @property
    def labels(self) -> Tensor:
        """(B,) int64 class of every row."""
        return torch.tensor([row.label for row in self.rows], dtype=torch.int64)

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of every row."""
        return tuple(row.patient for row in self.rows)

    def groups(self, by: str = "") -> tuple[Tensor, tuple[str, ...]]:
        """Return the group number of every row (-1 unknown) and the names of the groups, sorted.

        Shapes   numbers (B,) int64.
        Units    none.
        Returns  (numbers, names).
        Raises   ValueError if no row carries the attribute.
        Source   ours.
        """
        by = by or self.group_by
        names = tuple(sorted({row.attributes[by] for row in self.rows if by in row.attributes}))
        if not names:
            known = sorted({name for row in self.rows for name in row.attributes})
            raise ValueError(f"The 'by' parameter of groups must be one of {known}; got {by!r}.")
        place = {name: g for g, name in enumerate(names)}
        return torch.tensor([place.get(row.attributes.get(by, ""), -1) for row in self.rows]), names

    def select(self, rows: Sequence[int] | Tensor | str) -> Pairs:
        """Return a part: row numbers, a bool mask, or the name of a split.

        Shapes   a bool mask is (B,).
        Units    none.
        Returns  Pairs over the chosen rows, in the order given.
        Raises   ValueError if a split name has no rows or a mask another length.
        Source   ours.
        """
        if isinstance(rows, str):
            chosen = [i for i, row in enumerate(self.rows) if row.split == rows]
            if not chosen:
                known = sorted({row.split for row in self.rows})
                raise ValueError(f"The 'rows' parameter of select must be one of the splits {known}; got {rows!r}.")
        else:
            where = torch.as_tensor(rows)
            if where.dtype == torch.bool and len(where) != len(self):
                raise ValueError(
                    f"The 'rows' parameter of select must be a mask of {len(self)} rows; got one of {len(where)}."
                )
            chosen = (where.nonzero().flatten() if where.dtype == torch.bool else where).tolist()
        back = tuple(int(i) for i in chosen)
        kept = tuple(self.rows[i] for i in back)
        # The official test split of some sets names no group at all; a batch of it then has none.
        group_by = self.group_by if any(self.group_by in row.attributes for row in kept) else ""
        return replace(self, rows=kept, load=partial(_load_nth, self.load, back), group_by=group_by)

    def batch(self, rows: Sequence[int] | Tensor, *, seed: int | None = None) -> Batch:
        """Make the batch of the given rows.

        Shapes   rows (B,); result.image (B, 3, H, W).
        Units    image in [0, 1].
        Returns  a Batch; the caption is the first one, or drawn by (seed, row) where a seed is given.
        Raises   ValueError if the images differ in size; whatever `load` raises for an image that cannot be read.
        Source   ours.
        """
        rows = [int(i) for i in rows]
        loaded = [self.load(i) for i in rows]
        _one_size(self.name, [image for image, _ in loaded])
        masks = [mask for _, mask in loaded]
        known = [mask for mask in masks if mask is not None]
        numbers = self.groups()[0] if self.group_by else None
        return Batch(
            image=torch.stack([image for image, _ in loaded]),
            index=torch.tensor(rows, dtype=torch.int64),
            text=[self._caption(i, seed) for i in rows],
            label=torch.tensor([self.rows[i].label for i in rows], dtype=torch.int64),
            group=None if numbers is None else numbers[rows],
            mask=torch.stack(known) if known and len(known) == len(masks) else None,
        )

    def batches(
        self, size: int = 128, *, shuffle: bool = False, seed: int = 0, progress: bool = False
    ) -> Iterator[Batch]:
        """Walk once through the data.

        Shapes   every batch holds `size` rows, the last one what is left.
        Units    none.
        Returns  an iterator of Batch; in order, with the first captions, unless shuffled by the seed.
        Raises   whatever `load` raises.
        Source   ours.
        """
        order = np.random.default_rng(seed).permutation(len(self)) if shuffle else np.arange(len(self))
        starts: Iterable[int] = range(0, len(self), size)
        if progress:
            from tqdm.auto import tqdm

            starts = tqdm(starts, desc=self.name, leave=False)
        for start in starts:
            yield self.batch(order[start : start + size].tolist(), seed=seed if shuffle else None)

    def _caption(self, i: int, seed: int | None) -> str:
        captions = self.rows[i].captions
        if not captions:
            return ""
        if seed is None:
            return captions[0]
        return captions[int(np.random.default_rng((seed, i)).integers(len(captions)))]


def _one_size(name: str, images: list[Tensor]) -> None:
    other = next((image for image in images if image.shape != images[0].shape), None)
    if other is not None:
        raise ValueError(
            f"The images of {name} must be of one size to make a batch; got {tuple(images[0].shape[1:])} and "
            f"{tuple(other.shape[1:])}. Pass size= when the data are opened."
        )


def _load_nth(load, back, i):
    return load(back[i])
