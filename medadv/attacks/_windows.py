"""The random windows of the Square attack: one for each image, all of one size. Grey threats use one channel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._random import uniform
from medadv.threat import Threat

TRIES = 10


def stripes(clean: Tensor, threat: Threat, generator: torch.Generator | None, region: Tensor | None = None) -> Tensor:
    """Start L-inf with upright stripes one pixel wide, each channel up or down by eps."""
    n, _, _, wide = clean.shape
    signs = _signs((n, _channels(threat), 1, wide), clean, generator)
    return _within(region, (clean + threat.eps * signs).clamp(0, 1), clean)


def blocks(clean: Tensor, threat: Threat, generator: torch.Generator | None, region: Tensor | None = None) -> Tensor:
    """Start L2 with a chessboard of bumps, about five along the shorter side."""
    n, _, high, wide = clean.shape
    side = max(min(high, wide) // 5, 1)
    down, across = high // side, wide // side
    signs = _signs((n, _channels(threat), down, across), clean, generator)
    tiles = torch.kron(signs, _bump(side, clean)[None, None])
    top, left = (high - down * side) // 2, (wide - across * side) // 2
    tiles = F.pad(tiles, (left, wide - across * side - left, top, high - down * side - top))
    return _onto_sphere(_within(region, tiles), clean, threat)


def propose_linf(
    x: Tensor,
    clean: Tensor,
    threat: Threat,
    share: float,
    generator: torch.Generator | None,
    region: Tensor | None = None,
) -> Tensor:
    """Set one window of each image to clean plus or minus eps, a sign for each channel."""
    side = _side(share, x)
    rows = torch.arange(len(x), device=x.device)
    asked = x.clone()
    for _ in range(TRIES):  # who draws a window that is there already draws again: it costs no query
        where = _window(x, rows, side, generator, region)
        signs = _signs((len(rows), 1, 1, _channels(threat)), x, generator, rows)
        old, new = x[where], (clean[where] + threat.eps * signs).clamp(0, 1)
        if region is not None:
            new = torch.where(region[where[0], 0, where[2], where[3]][..., None], new, old)
        asked[where] = new
        rows = rows[~(new != old).flatten(1).any(1)]
        if not len(rows):
            break
    return asked


def propose_l2(
    x: Tensor,
    clean: Tensor,
    threat: Threat,
    share: float,
    generator: torch.Generator | None,
    region: Tensor | None = None,
) -> Tensor:
    """Move what one window of each image holds of the budget into another, where a bump of random sign is added."""
    n, channels = len(x), _channels(threat)
    side = max(_side(share, x), 3)
    side = min(side + 1 - side % 2, x.shape[2], x.shape[3])
    moved = (x - clean)[:, :channels].clone()
    rows = torch.arange(n, device=x.device)
    here, there = (_window(x, rows, side, generator, region) for _ in range(2))
    spent = moved.square().sum((2, 3))  # (n, channels)
    old = moved[here]  # (n, side, side, channels)
    moved[here] = 0
    moved[there] = 0
    freed = spent - moved.square().sum((2, 3))
    left = (threat.eps**2 - spent.sum(1, keepdim=True)).clamp_min(0) / channels
    bump = _bump(side, x)
    turned = (uniform((n,), x, generator) < 0.5).view(n, 1, 1)
    bumps = torch.where(turned, bump.T, bump)[..., None] * _signs((n, 1, 1, channels), x, generator)
    new = bumps + old / old.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    new = new / new.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    moved[here] = new * (left + freed.clamp_min(0)).sqrt()[:, None, None]
    return _onto_sphere(_within(region, moved), clean, threat)


def _within(region: Tensor | None, there: Tensor, elsewhere: Tensor | float = 0.0) -> Tensor:
    """One value inside the region, another outside; all is inside where there is none."""
    return there if region is None else torch.where(region, there, elsewhere)


def _channels(threat: Threat) -> int:
    return 1 if threat.grey else 3


def _side(share: float, x: Tensor) -> int:
    high, wide = x.shape[2:]
    return min(max(round((share * high * wide) ** 0.5), 1), high, wide)


def _window(
    x: Tensor, rows: Tensor, side: int, generator: torch.Generator | None, region: Tensor | None = None
) -> tuple:
    """An index of one window in each of the given rows: x[index] is (rows, side, side, channels).

    With a region the window touches the smallest rectangle around it: elsewhere it could change nothing.
    """
    high, wide = x.shape[2:]
    corner = uniform((2, len(rows)), x, generator, rows=rows, axis=1)
    reach = torch.arange(side, device=x.device)
    top, left = (
        _corner(drawn, size - side, None if region is None else region[rows, 0].any(axis), side)
        for drawn, size, axis in zip(corner, (high, wide), (2, 1), strict=True)
    )
    return rows[:, None, None], slice(None), (top[:, None] + reach)[:, :, None], (left[:, None] + reach)[:, None]


def _corner(drawn: Tensor, last: int, used: Tensor | None, side: int) -> Tensor:
    """Turn numbers in [0, 1) into places from 0 to last, so that a window of this side meets what is used."""
    if used is None:
        return (drawn * (last + 1)).long().clamp_max(last)
    places = used.int()
    low = (places.argmax(1) - side + 1).clamp(0, last)
    high = (used.shape[1] - 1 - places.flip(1).argmax(1)).clamp(0, last)
    high = torch.maximum(low, high)
    return torch.minimum(low + (drawn * (high - low + 1)).long(), high)


def _signs(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None, rows: Tensor | None = None
) -> Tensor:
    return (uniform(shape, like, generator, rows=rows) < 0.5).to(like.dtype) * 2 - 1


def _onto_sphere(moved: Tensor, clean: Tensor, threat: Threat) -> Tensor:
    """Make the move of size eps, then cut it to the box."""
    size = moved.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return (clean + moved * (threat.eps / size)).clamp(0, 1)


def _bump(side: int, like: Tensor) -> Tensor:
    """The paper's bump: two halves of opposite sign, each a pile of ever smaller rectangles; of size 1 in L2."""
    half = side // 2
    bump = like.new_zeros(side, side)
    if half:
        bump[:half] = _pile(half, side, like)
    bump[half:] = -_pile(side - half, side, like)
    return bump / bump.norm()


def _pile(high: int, wide: int, like: Tensor) -> Tensor:
    pile = like.new_zeros(high, wide)
    top, left = high // 2, wide // 2
    for k in range(max(high, wide) // 2 + 1):
        pile[max(top - k, 0) : top + k + 1, max(left - k, 0) : left + k + 1] += 1 / (k + 1) ** 2
    return pile / pile.norm()
