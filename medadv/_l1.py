"""The geometry of the L1 ball inside the pixel box, without sorting: on a CPU a sort costs more than a small model."""

from __future__ import annotations

import torch
from torch import Tensor


def into_ball_and_box(moved: Tensor, image: Tensor, radius: float) -> Tensor:
    """Return the moves nearest to the given ones that stay in the L1 ball and keep the image in [0, 1].

    Both are (B, n). Every move is shortened by the same `cut` and then held by its wall; the cut at which the sizes
    add up to the radius is found by Newton's steps inside a shrinking bracket (the sum falls along straight pieces);
    ten are enough for rounding to be all that is left, and the last line makes up for any that were not.
    Source: Croce and Hein 2021, arXiv 2103.01208, section 3, who sort the break points instead.
    """
    room = torch.where(moved > 0, 1 - image, image).clamp_min(0)
    size = moved.abs()
    shorter, short = torch.empty_like(size), torch.empty_like(size)  # written over and over: making them costs more
    cut, low, high = torch.zeros_like(size[:, :1]), torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    for _ in range(12):
        torch.sub(size, cut, out=shorter).clamp_min_(0)
        over = torch.minimum(shorter, room, out=short).sum(1, keepdim=True) - radius
        low, high = torch.where(over > 0, cut, low), torch.where(over > 0, high, cut)
        sliding = torch.gt(shorter, 0, out=short).sum(1, keepdim=True)
        sliding -= torch.gt(shorter, room, out=short).sum(1, keepdim=True)
        guess = cut + over / sliding.clamp_min(1)
        cut = torch.where((guess >= low) & (guess <= high), guess, (low + high) / 2)
    size = torch.minimum((size - cut).clamp_min(0), room)
    # Rounding may leave the sum a little too large; and who was inside from the start has a cut of nearly nothing.
    size = size * (radius / size.sum(1, keepdim=True).clamp_min(1e-30)).clamp_max(1)
    return moved.sign() * size


def strongest(gradient: Tensor, share: Tensor | float) -> Tensor:
    """Return a direction of L1 size 1 that moves the strongest entries of each row, all by the same amount.

    gradient (B, n); share of the n entries, one for all or (B, 1). At least one entry moves unless all are zero.
    The threshold is found by halving; equal entries at the threshold move together.
    """
    size = gradient.abs()
    wanted = torch.as_tensor(share * size.shape[1], device=size.device).clamp_min(1)
    # The strongest entry is always above `low`; too many may be.
    low, high, above = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True), torch.empty_like(size)
    for _ in range(24):
        middle = (low + high) / 2
        many = torch.ge(size, middle, out=above).sum(1, keepdim=True) > wanted
        low, high = torch.where(many, middle, low), torch.where(many, high, middle)
    unit = gradient.sign() * (size >= high)
    return unit / unit.abs().sum(1, keepdim=True).clamp_min(1)
