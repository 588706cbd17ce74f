"""Noise that is looked up, not drawn: draw j of an image is the same numbers on every run, in any order, anywhere.

Every number is a function of (seed, image, sigma, role, position). Nothing has a state that could be used up, so a
result cannot depend on the batch size, the order of the images, how many processes share them, or a restart. Roles
are disjoint parts of the same sequence: votes that certify were never seen by what chose the class or the prompt.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK = 50
"""Draws made at once; n0 = 100, n = 1000 and looks at hundreds are whole blocks."""
ROLES = ("select", "estimate", "adapt", "inside", "predict", "train", "audit")
"""select chooses the class, estimate certifies, adapt tunes a prompt on the image at hand, inside is the further noise
within a vote, predict is PREDICT, train fits heads, audit is an attacker's or an auditor's."""


class Stream(NamedTuple):
    """The noise that a head was fitted on, which must never certify it; equal to the pair that a saved head keeps."""

    seed: int
    role: str


@dataclass(frozen=True)
class Noise:
    """The noise of one image in one role.

    Shapes   shape (C, H, W) of the image; draws (N, C, H, W).
    Units    sigma in pixel units.
    Returns  an endless sequence of draws, each at its own place.
    Raises   ValueError for an unknown role, a negative seed or a sigma that is not positive.
    Source   Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; normals by Box and Muller 1958.
             On CUDA torch's own Philox makes the numbers, which is much faster there: they are others than on the CPU,
             and may differ between kinds of GPU, so `kind` says which were used.
    """

    seed: int
    image: int | str
    """The image's own name or number, not its place in a batch."""
    sigma: float
    role: str
    shape: tuple[int, ...]
    device: torch.device = torch.device("cpu")

    def __post_init__(self):
        if self.role not in ROLES:
            raise ValueError(f"The 'role' parameter of Noise must be one of {', '.join(ROLES)}; got {self.role!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"The 'seed' parameter of Noise must be a whole number from 0 up; got {self.seed!r}.")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ValueError(
                f"The 'sigma' parameter of Noise must be positive; got {self.sigma}. Use 0.25 for example."
            )

    @property
    def stream(self) -> Stream:
        """What a head fitted on this noise must remember."""
        return Stream(self.seed, self.role)

    def draws(self, start: int, stop: int) -> Tensor:
        """Return draws start to stop - 1, (stop - start, C, H, W)."""
        return torch.cat([*self.batches(start, stop, size=max(1, stop - start)), self._empty()])

    def batches(self, start: int, stop: int, *, size: int) -> Iterator[Tensor]:
        """Walk from start to stop in batches of at most `size`; no block is made twice."""
        held, count = [], 0
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first = block * BLOCK
            part = self._block(block)[max(start - first, 0) : max(min(stop - first, BLOCK), 0)]
            held.append(part)
            count += len(part)
            while count >= size:
                whole = held[0] if len(held) == 1 else torch.cat(held)
                yield whole[:size]
                held, count = [whole[size:]], count - size
        if count:
            yield torch.cat(held)

    def _block(self, block: int) -> Tensor:
        size = BLOCK * math.prod(self.shape)
        if self.device.type == "cuda":
            generator = torch.Generator(self.device).manual_seed(_number(self, block))
            unit = torch.randn(size, generator=generator, device=self.device, dtype=torch.float32)
        else:
            unit = _normal(_key(self), (ROLES.index(self.role), block), size).to(self.device)
        return unit.mul_(self.sigma).view(BLOCK, *self.shape)

    def _empty(self) -> Tensor:
        return torch.empty(0, *self.shape, device=self.device, dtype=torch.float32)


def kind(device: torch.device | str) -> str:
    """Name the numbers that a device would use; results of one kind can be joined, others not.

    Shapes   none.
    Units    none.
    Returns  "philox", or for CUDA that and the name of the GPU.
    Raises   nothing.
    Source   ours: torch.randn on CUDA hangs on the number of multiprocessors.
    """
    device = torch.device(device)
    return f"philox on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "philox"


def _key(noise: Noise) -> int:
    """128 bits for (seed, image, sigma): two images share a key with chance 2**-128."""
    name = f"{type(noise.image).__name__}:{noise.image}".encode()
    told = struct.pack("<d", noise.sigma) + str(noise.seed).encode() + b"/" + name
    return int.from_bytes(hashlib.blake2b(told, digest_size=16).digest(), "little")


def _number(noise: Noise, block: int) -> int:
    told = f"{_key(noise)}/{noise.role}/{block}".encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little", signed=True)


def _normal(key: int, place: tuple[int, int], size: int) -> Tensor:
    """Standard normals of one block. Role and block are the upper words of Philox's 256-bit counter, so blocks cannot
    meet however long they are."""
    half = (size + 1) // 2
    raw = np.random.Philox(key=key, counter=[0, 0, *place]).random_raw(half)
    number, out = torch.from_numpy(raw.view(np.int32)), torch.empty(2 * half, dtype=torch.float32)
    for start in range(0, half, 1 << 16):  # in pieces that stay in the cache
        rows = slice(start, min(start + (1 << 16), half))
        radius, angle = number[:half][rows].float(), number[half:][rows].float()
        radius.abs_().add_(0.5).mul_(2.0**-31).log_().mul_(-2).sqrt_()
        angle.mul_(math.pi * 2.0**-31)
        torch.mul(radius, angle.cos(), out=out[:half][rows])
        torch.mul(radius, angle.sin_(), out=out[half:][rows])
    return out[:size]
