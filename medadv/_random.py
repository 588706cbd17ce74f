"""Random numbers for a batch: from one generator for all rows, or from one stream for each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 512
_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


class Streams(torch.Generator):
    """One stream of random numbers for each row: what a row draws does not depend on the other rows.

    It goes wherever a generator goes. The attacks of this package draw by row from it; any other function sees a
    generator that was seeded by the first row. Small draws are SplitMix64 (Steele, Lea and Flood 2014), whose state is
    the row's key plus the count of what it drew before; for large ones that state seeds a generator of torch.
    """

    keys: Tensor
    """(B,) int64, on the device of the numbers."""

    def __new__(cls, keys: Tensor) -> Streams:
        """Make a generator on the device of the keys."""
        return super().__new__(cls, keys.device)  # type: ignore[call-arg]

    def __init__(self, keys: Tensor):
        self.keys, self._drawn, self._forks = keys, torch.zeros_like(keys), 0
        # Numbers are made ahead in blocks: `_block` holds those from `_base` on, and at most `_used` are gone.
        self._block, self._base, self._used = keys[:, None], self._drawn, _BLOCK
        self.manual_seed(int(keys[0]) & (2**62 - 1) if len(keys) else 0)

    @classmethod
    def of(cls, row: Tensor, *salt: int) -> Streams:
        """One stream for each number in `row`, for example its place in a data set, and a few numbers for all."""
        keys = torch.zeros_like(row, dtype=torch.int64)
        parts: list[Any] = [*(number & (2**62 - 1) for number in salt), row.long()]
        for part in parts:
            keys = _mixed(_mixed(keys + _STEP) + part)
        return cls(keys)

    def fork(self, rows: Tensor | None = None) -> Streams:
        """New streams for some of the rows, others at every call."""
        self._forks += 1
        keys = self.keys if rows is None else self.keys[rows]
        return Streams(_mixed(keys + torch.full_like(keys, self._forks) * _STEP))

    def keep(self, rows: Tensor) -> Streams:
        """Go on with some of the rows."""
        kept = Streams(self.keys[rows])
        kept._drawn, kept._base, kept._block = self._drawn[rows], self._base[rows], self._block[rows]
        kept._used = self._used
        return kept

    def repeat(self, times: int) -> Streams:
        """Return copies of all rows behind each other; each copy draws its own numbers."""
        copy, keys = torch.arange(times, device=self.keys.device).repeat_interleave(len(self.keys)), self.keys
        keys = keys.repeat(times)
        return Streams(torch.where(copy == 0, keys, _mixed(keys + copy * _STEP)))

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
        """Draw (rows, *shape) numbers in [0, 1)."""
        many = math.prod(shape)
        if many > _BLOCK // 8:
            return self.large(torch.rand, shape, dtype, rows)
        if self._used + many > _BLOCK:
            self._base, self._used = self._drawn, 0
            place = self._base[:, None] + torch.arange(1, _BLOCK + 1, device=self.keys.device)
            self._block = _shifted(_mixed(self.keys[:, None] + place * _STEP), 40).to(torch.float32).mul_(2**-24)
        place, block = self._drawn - self._base, self._block
        if rows is not None:
            place, block = place[rows], block[rows]
        self._advance(many, rows)
        self._used += many
        got = block.gather(1, place[:, None] + torch.arange(many, device=place.device))
        return got.to(dtype).view(-1, *shape)

    def large(
        self, draw: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype, rows: Tensor | None = None
    ) -> Tensor:
        """Let torch draw (rows, *shape), each row by a generator of its own."""
        seeds = _mixed(self.keys + self._drawn * _STEP)
        self._advance(1, rows)
        self._used = _BLOCK
        own = torch.Generator(self.device)
        how: dict[str, Any] = {"generator": own, "device": self.device, "dtype": dtype}
        parts = []
        for seed in (seeds if rows is None else seeds[rows]).tolist():
            own.manual_seed(seed & (2**62 - 1))
            parts.append(draw(shape, **how))
        return torch.stack(parts) if parts else torch.empty(0, *shape, device=self.device, dtype=dtype)

    def _advance(self, many: int, rows: Tensor | None) -> None:
        if rows is None:
            self._drawn = self._drawn + many
        else:
            self._drawn = self._drawn.index_add(0, rows, torch.full_like(rows, many))


def generator(seed: int, *keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator from a seed; with keys one of its own for each of them, independent of all others."""
    if keys:
        seed = int(np.random.SeedSequence((seed, *keys)).generate_state(1)[0])
    return torch.Generator(device).manual_seed(seed)


def uniform(
    shape: tuple[int, ...],
    like: Tensor,
    generator: torch.Generator | None,
    *,
    rows: Tensor | None = None,
    axis: int = 0,
) -> Tensor:
    """Draw numbers in [0, 1) of the kind of `like`; `axis` is where the rows of the batch lie in the shape."""
    of = _streams(generator, shape[axis] if rows is None else None, rows)
    if of is None:
        return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)
    rest = shape[:axis] + shape[axis + 1 :]
    return of.uniform(rest, like.dtype, rows).movedim(0, axis)


def normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal numbers of the kind of `like`, rows first."""
    of = _streams(generator, shape[0], None)
    if of is None:
        return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    return of.large(torch.randn, shape[1:], like.dtype)


def fork(generator: torch.Generator | None, many: int, rows: Tensor | None = None) -> torch.Generator | None:
    """Return streams of their own for some of the rows; a generator that all rows share is returned as it is."""
    return generator if (of := _streams(generator, many, None)) is None else of.fork(rows)


def _streams(generator: torch.Generator | None, many: int | None, rows: Tensor | None) -> Streams | None:
    """The streams, where there is one for each row; rows that were cut out by others share one generator."""
    if not isinstance(generator, Streams) or (rows is None and len(generator.keys) != many):
        return None
    return generator


def _mixed(bits: Tensor) -> Tensor:
    for shift, factor in zip((30, 27), _MIX, strict=True):
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift to the right as if there were no sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
