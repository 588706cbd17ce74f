"""Resizing by weights: only the part of the resized image that is kept is ever made.

`torch.nn.functional.interpolate` makes the whole resized image first. For a strip of 9,000 x 1 pixels that is two
million columns, of which a centre crop keeps 224. It also knows fewer filters than PIL.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


def _hamming(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1, torch.sinc(x) * (0.54 + 0.46 * torch.cos(math.pi * x)), 0)


# The filters of PIL and how far each reaches; those of torch with antialias=True are the same.
FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "box": (lambda x: ((x > -0.5) & (x <= 0.5)).to(x.dtype), 0.5),
    "bilinear": (lambda x: (1 - x.abs()).clamp(min=0), 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (lambda x: torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0), 3.0),
}


def weights(old: int, new: int, first: int, count: int, *, mode: str) -> tuple[int, Tensor]:
    """Say how some samples of a resized line are made of the samples of the line.

    Shapes   a line of `old` samples resized to `new`, of which `count` are wanted from `first` on; result (count, M).
    Units    each row sums to 1.
    Returns  (start, weight): weight @ line[start : start + M] are the wanted samples.
    Raises   nothing.
    Source   PIL's Resample.c (precompute_coeffs), in float64, and ImagingScaleAffine for nearest.
    """
    scale = old / new
    place = (torch.arange(first, first + count, dtype=torch.float64) + 0.5) * scale
    if mode == "nearest":  # PIL adds the scale up, and where a place falls on an edge the last bit decides
        steps = torch.full((first + count,), scale, dtype=torch.float64)
        steps[0] = 0.5 * scale
        index = steps.cumsum(0)[first:].floor().long().clamp(max=old - 1)
        start = int(index[0])
        return start, F.one_hot(index - start).double()
    filter_, reach = FILTERS[mode]
    wide = max(scale, 1.0)
    low = (place - reach * wide + 0.5).floor().clamp(min=0)[:, None]
    high = (place + reach * wide + 0.5).floor().clamp(max=old)[:, None]
    start, stop = int(low.min()), int(high.max())
    at = torch.arange(start, stop, dtype=torch.float64)
    weight = torch.where((at >= low) & (at < high), filter_((at + 0.5 - place[:, None]) / wide), 0)
    return start, weight / weight.sum(dim=1, keepdim=True)


def resample(image: Tensor, *, new: tuple[int, int], corner: tuple[int, int], size: int, mode: str) -> Tensor:
    """Resize a batch to `new` and keep the square of `size` at `corner`, without making the rest.

    Shapes   image (B, C, H, W); new (height, width), corner (top, left); result (B, C, size, size).
    Units    as given.
    Returns  what cutting the resized batch gives; the gradient goes through.
    Raises   nothing.
    Source   ours; a resize is one matrix for each axis, and only the kept rows of either matrix are used.
    """
    top, down = weights(image.shape[-2], new[0], corner[0], size, mode=mode)
    left, across = weights(image.shape[-1], new[1], corner[1], size, mode=mode)
    down, across = down.to(image), across.to(image)
    part = image[..., top : top + down.shape[1], left : left + across.shape[1]]
    return down @ (part @ across.T) if part.shape[-1] >= part.shape[-2] else (down @ part) @ across.T
