"""The geometry of the L1 ball inside the pixel box, without sorting: on a CPU a sort costs more than a small model."""

from __future__ import annotations

import torch
from torch import Tensor


def into_ball_and_box(moved: Tensor, image: Tensor, radius: float) -> Tensor:
    """Return the moves nearest to the given ones that stay in the L1 ball and keep the image in [0, 1].

    Both are (B, n). Every move is shortened by the same `cut` and then held by its wall; the cut at which the sizes
    add up to the radius is found by halving a bracket. The sum falls along straight pieces that bend both ways, which
    sends Newton's steps in circles; the chord of the last bracket is exact as soon as it spans one piece.
    Source: Croce and Hein 2021, arXiv 2103.01208, section 3, who sort the break points instead.
    """
    room = torch.where(moved > 0, 1 - image, image).clamp_min(0)
    size = moved.abs()
    short = torch.empty_like(size)  # written over and over: making it costs more

    def over(cut: Tensor) -> Tensor:
        torch.sub(size, cut, out=short).clamp_min_(0)
        return torch.minimum(short, room, out=short).sum(1, keepdim=True) - radius

    low, high = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    above, below = over(low), torch.full_like(low, -radius)
    for _ in range(24):
        middle = (low + high) / 2
        rest = over(middle)
        low, above = torch.where(rest > 0, middle, low), torch.where(rest > 0, rest, above)
        high, below = torch.where(rest > 0, high, middle), torch.where(rest > 0, below, rest)
    cut = low + (high - low) * (above / (above - below).clamp_min(1e-30)).clamp(0, 1)
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
