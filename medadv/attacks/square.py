"""A black-box attack that asks for scores only: squares of colour at random places, kept where they help."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._random import uniform
from medadv.attacks._loop import ActiveBatch
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import AttackResult

# After which of 10,000 queries the share of an image that a window covers is halved once more.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
TRIES = 10
"""How often a window that would change nothing is drawn anew; each image has one, all of one size."""


def square(
    want: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    queries: int = 5000,
    p: float = 0.8,
    stop: bool = True,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Search at random: recolour a square window of each image, and keep what raised the loss.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps in pixel units; queries counts forward passes of an image; p is the share of the image that
             the first windows cover.
    Returns  AttackResult; no gradient is asked for, cost.forwards holds the queries spent.
    Raises   ValueError if image leaves [0, 1] (did you normalise? the VLM does it inside), the threat is L1, queries
             is below 1 or p outside (0, 1].
    Source   Andriushchenko et al. 2020, algorithms 1 to 3, arXiv 1912.00049. Differs: the first query is the clean
             image, every image has a window of its own, and in L-inf a window that would change nothing is drawn
             anew before a query is spent on it. The schedule of p is stretched to the number of queries.
    """
    threat = Threat.of(threat)
    if threat.norm == "l1":
        raise ValueError("The 'threat' parameter of square must be linf or l2; got l1. Use apgd for L1.")
    if queries < 1:
        raise ValueError(f"The 'queries' parameter of square must be at least 1; got {queries}.")
    if not 0 < p <= 1:
        raise ValueError(f"The 'p' parameter of square must be in (0, 1]; got {p}. The paper takes 0.8 and 0.05.")
    propose = _propose_linf if threat.norm == "linf" else _propose_l2
    with ActiveBatch(want, image, threat, stop=stop, generator=generator, region=region) as active:
        x, loss = active.drop_successful(active.clean, active.score(active.clean).loss)
        for query in range(1, queries if threat.eps > 0 else 1):
            if not len(active):
                break
            if query == 1:
                begin = _stripes if threat.norm == "linf" else _blocks
                x = begin(active.clean, threat, active.generator, active.region)
                loss = active.score(x).loss
            else:
                # The clean image and the stripes asked the first two: the schedule starts with the first window.
                share = _share(p, query - 2, queries)
                asked = propose(x, active.clean, threat, share, active.generator, active.region)
                score = active.score(asked)
                better = score.loss > loss
                x = torch.where(better.view(-1, 1, 1, 1), asked, x)
                loss = torch.where(better, score.loss, loss)
            x, loss = active.drop_successful(x, loss)
        return active.result()


def _share(p: float, query: int, queries: int) -> float:
    place = query * 10_000 // queries
    return p / 2 ** sum(place > limit for limit in HALVINGS)


def _stripes(clean: Tensor, threat: Threat, generator: torch.Generator | None, region: Tensor | None = None) -> Tensor:
    """Start L-inf with upright stripes one pixel wide, each channel up or down by eps."""
    n, _, _, wide = clean.shape
    signs = _signs((n, _channels(threat), 1, wide), clean, generator)
    return _within(region, (clean + threat.eps * signs).clamp(0, 1), clean)


def _blocks(clean: Tensor, threat: Threat, generator: torch.Generator | None, region: Tensor | None = None) -> Tensor:
    """Start L2 with a chessboard of bumps, about five along the shorter side."""
    n, _, high, wide = clean.shape
    side = max(min(high, wide) // 5, 1)
    down, across = high // side, wide // side
    signs = _signs((n, _channels(threat), down, across), clean, generator)
    tiles = torch.kron(signs, _bump(side, clean)[None, None])
    top, left = (high - down * side) // 2, (wide - across * side) // 2
    tiles = F.pad(tiles, (left, wide - across * side - left, top, high - down * side - top))
    return _onto_sphere(_within(region, tiles), clean, threat)


def _propose_linf(
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


def _propose_l2(
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
