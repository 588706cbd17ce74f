"""A black-box attack that sees decisions only: whether a point is adversarial, never by how much."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from medadv._random import uniform
from medadv.attacks._loop import ActiveBatch
from medadv.attacks.minimal import SmallestResult, cut_to_budget
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import Cost

CHUNK = 128
"""Points in one forward pass."""
STARTS, COARSE = 100, 1e-3
"""How many random images are tried as a start, and how closely the way back from one is searched."""
HALVINGS = 25
"""How often a step is halved before it is given up."""
REACH = 0.01
"""The size of a random direction, as a share of the distance."""
BEYOND = 1.001
"""How far the result lies behind the boundary, as a multiple of the distance to it."""
RESERVE = 40
"""Queries that are kept for a step and the bisection behind it."""


def hopskipjump(
    objective: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    queries: int = 5000,
    directions: int = 100,
    stop: bool = True,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SmallestResult:
    """Walk along the decision boundary towards the image, with gradients estimated from decisions.

    Only the objective's verdict steers the attack; its loss is not read. Each image starts from random pixels that are
    adversarial, is led back to the boundary by bisection, and then alternates between estimating the normal of the
    boundary from random directions, a step along it, and bisection.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; result.eps (B,); region as in `pgd`.
    Units    threat.eps and result.eps in pixel units; queries is what each image may be asked at most, the clean image
             and the last verdict included; directions is the number of the first estimate, which grows with the root
             of the round.
    Returns  SmallestResult; `eps` is the size of the smallest adversarial perturbation that was seen (0 where the clean
             image succeeds already, inf where no start was found). An image succeeds where eps is at most threat.eps;
             elsewhere its best perturbation is cut to the budget and judged there. With stop=True an image leaves when
             it has succeeded, with stop=False it spends all queries on a smaller perturbation. No gradient is asked
             for; cost.forwards holds the queries spent. What an image draws does not depend on the other images.
    Raises   ValueError if image leaves [0, 1], the threat is L1, queries is below 1 or directions below 2.
    Source   Chen, Jordan and Wainwright 2020, algorithms 1 and 2, arXiv 1904.02144; the precision of the bisection and
             the size of the directions as in the authors' and ART's code. Differs: the queries of all images share
             batches, a step is given up after 25 halvings, and the result lies a thousandth behind the boundary,
             because on it rounding decides.
    """
    threat = Threat.of(threat)
    if threat.norm == "l1":
        raise ValueError("The 'threat' parameter of hopskipjump must be linf or l2; got l1. Use apgd for L1.")
    if queries < 1:
        raise ValueError(f"The 'queries' parameter of hopskipjump must be at least 1; got {queries}.")
    if directions < 2:
        raise ValueError(f"The 'directions' parameter of hopskipjump must be at least 2; got {directions}.")
    began = time.perf_counter()
    with (
        ActiveBatch(objective, image, threat, stop=False, region=region, generator=generator) as active,
        torch.no_grad(),
    ):
        wrong = active.score(active.clean).won if len(active) else active.rows.bool()
        walk = _Walk(active, threat, queries, directions)
        walk.eps = walk.eps.masked_fill(wrong, 0)
        if threat.eps > 0 and len(active):
            walk.start((~wrong).nonzero().flatten())
            walk.go(stop)
        point, success, loss = active.clean, wrong, active.result().loss
        if len(active) and queries > 1:
            point = (active.clean + BEYOND * (walk.best - active.clean)).clamp(0, 1)
            walk.eps = torch.where(walk.eps.isfinite(), threat.size(point, active.clean), walk.eps)
            point, success, loss, walk.eps = cut_to_budget(active, threat, point, walk.eps)
            walk.spent += 1
        cost = Cost(forwards=int(walk.spent.sum()), seconds=time.perf_counter() - began)
        return SmallestResult(point.contiguous(), success, loss, cost, None, walk.eps.float())


class _Walk:
    """Where each image stands, and what it has been asked."""

    def __init__(self, active: ActiveBatch, threat: Threat, queries: int, directions: int):
        self.active, self.threat, self.queries, self.directions = active, threat, queries, directions
        self.clean = active.clean.contiguous()
        many = len(self.clean)
        self.x, self.best = self.clean.clone(), self.clean.clone()
        self.eps = self.clean.new_full((many,), torch.inf)
        self.spent = torch.ones(many, dtype=torch.int64, device=self.clean.device)  # the clean image
        seeds = uniform((many,), self.eps, active.generator).double().mul(2**24).long().tolist()
        self.streams = [torch.Generator(self.clean.device).manual_seed(seed) for seed in seeds]
        values = self.clean[0].numel() if many else 1
        self.fine = REACH / (math.sqrt(values) if threat.norm == "l2" else values)
        """How closely the boundary is searched, as a share of the distance."""

    def start(self, rows: Tensor) -> None:
        """Draw random pixels until they are adversarial, then go back towards the image."""
        found = torch.zeros_like(self.spent, dtype=torch.bool)
        for _ in range(STARTS):
            rows = rows[~found[rows] & (self._left(rows) > 0)]
            if not len(rows):
                break
            drawn = torch.stack([self._pixels(row) for row in rows.tolist()])
            success = self._ask(rows, drawn)
            self.x[rows[success]] = drawn[success]
            found[rows[success]] = True
        rows = found.nonzero().flatten()
        self._note(rows)
        self._back(rows, "l2", COARSE)

    def go(self, stop: bool) -> None:
        """Run rounds until the queries are spent, or the images are within the budget."""
        rows = (self.eps.isfinite() & (self.eps > 0)).nonzero().flatten()
        self._back(rows, self.threat.norm, self.fine)
        for turn in range(1, self.queries):
            rows = rows[self._left(rows) > RESERVE]
            if stop:
                rows = rows[self.eps[rows] > self.threat.eps]
            if not len(rows):
                return
            self._step(rows, turn)
            self._back(rows, self.threat.norm, self.fine)

    def _step(self, rows: Tensor, turn: int) -> None:
        """Estimate the normal of the boundary at each point and walk along it, half as far until that succeeds."""
        far, here = self._distance(rows), self.x[rows]
        # The authors take a tenth of the box for the first estimate, then a share of the distance.
        reach = [0.1] * len(rows) if turn == 1 else (REACH * far).tolist()
        normal = torch.stack([self._normal(row, one, turn) for row, one in zip(rows.tolist(), reach, strict=True)])
        length = far / math.sqrt(turn)
        waiting = torch.ones_like(rows, dtype=torch.bool)
        for _ in range(HALVINGS):
            waiting &= self._left(rows) > 0
            if not waiting.any():
                break
            part = waiting.nonzero().flatten()
            ahead = (here[part] + length[part].view(-1, 1, 1, 1) * normal[part]).clamp(0, 1)
            success = self._ask(rows[part], ahead)
            self.x[rows[part[success]]] = ahead[success]
            waiting[part[success]] = False
            length = length / 2
        self._note(rows)

    def _normal(self, row: int, size: float, turn: int) -> Tensor:
        """Average random directions by the verdict behind each (equation 9 with the baseline of equation 16)."""
        left = self.queries - 1 - int(self.spent[row]) - RESERVE
        many = min(int(self.directions * math.sqrt(turn)), 10_000, left)
        total = moved = torch.zeros_like(self.clean[row])
        wins = asked = 0
        x, size = self.x[row], max(size, 1e-7)
        for start in range(0, many, CHUNK):
            drawn = self._directions(row, min(CHUNK, many - start))
            points = (x + size * drawn).clamp(0, 1)
            drawn = (points - x) / size
            success = self._ask(self.spent.new_full((len(drawn),), row), points)
            total, moved = total + drawn.sum(0), moved + drawn[success].sum(0)
            wins, asked = wins + int(success.sum()), asked + len(drawn)
        share = wins / asked
        sign = 1.0 if share == 1 else -1.0
        normal = sign * total if share in (0, 1) else 2 * (moved - share * total)
        return self.threat.ascend(normal[None])[0]

    def _back(self, rows: Tensor, norm: str, precision: float) -> None:
        """Bisect between the image and each adversarial point, and keep the nearest adversarial one."""
        if not len(rows):
            return
        x, clean = self.x[rows].clone(), self.clean[rows]
        far = torch.ones_like(self.eps[rows]) if norm == "l2" else (x - clean).abs().flatten(1).amax(1)
        low, high = torch.zeros_like(far), far.clone()
        least = precision * far.clamp_max(1)
        while True:
            part = ((high - low > least) & (self._left(rows) > 0)).nonzero().flatten()
            middle = (low + high) / 2
            part = part[(middle[part] > low[part]) & (middle[part] < high[part])]  # numbers are not that fine
            if not len(part):
                break
            between = _towards(x[part], clean[part], middle[part], norm)
            success = self._ask(rows[part], between)
            high[part[success]], low[part[~success]] = middle[part[success]], middle[part[~success]]
        moved = high < far
        self.x[rows[moved]] = _towards(x[moved], clean[moved], high[moved], norm)
        self._note(rows)

    def _note(self, rows: Tensor) -> None:
        """Remember the nearest adversarial points."""
        size = self._distance(rows)
        nearer = size < self.eps[rows]
        self.eps[rows[nearer]], self.best[rows[nearer]] = size[nearer], self.x[rows[nearer]]

    def _distance(self, rows: Tensor) -> Tensor:
        return self.threat.size(self.x[rows], self.clean[rows])

    def _left(self, rows: Tensor) -> Tensor:
        """How many queries each image has left; one is kept for the last verdict."""
        return self.queries - 1 - self.spent[rows]

    def _ask(self, rows: Tensor, points: Tensor) -> Tensor:
        """Say which points are adversarial; `rows` names the image of each, and may name one often."""
        told = []
        for part, place in zip(points.split(CHUNK), rows.split(CHUNK), strict=True):
            score = self.active.want.keep(place)(part)
            told.append(score.won & ~score.loss.isnan())  # a model that broke down has not been fooled
        self.spent.index_add_(0, rows, torch.ones_like(rows))
        return torch.cat(told)

    def _pixels(self, row: int) -> Tensor:
        """Random pixels inside the region."""
        channels, *size = self.clean[row].shape
        shape = (1 if self.threat.grey else channels, *size)
        drawn = torch.rand(shape, generator=self.streams[row], device=self.clean.device, dtype=self.clean.dtype)
        drawn = drawn.expand(channels, *size)
        region = self.active.region
        return drawn if region is None else torch.where(region[row], drawn, self.clean[row])

    def _directions(self, row: int, many: int) -> Tensor:
        """Directions of length 1 in L2, inside the region."""
        channels, *size = self.clean[row].shape
        shape = (many, 1 if self.threat.grey else channels, *size)
        draw = torch.randn if self.threat.norm == "l2" else torch.rand
        drawn = draw(shape, generator=self.streams[row], device=self.clean.device, dtype=self.clean.dtype)
        drawn = drawn if self.threat.norm == "l2" else 2 * drawn - 1
        if self.active.region is not None:
            drawn = drawn * self.active.region[row]
        length = drawn.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return (drawn / length).expand(-1, channels, -1, -1)


def _towards(x: Tensor, clean: Tensor, size: Tensor, norm: str) -> Tensor:
    """The point between: a share of the way in L2, and x cut to the box of this radius in L-inf."""
    size = size.view(-1, 1, 1, 1)
    return clean + size * (x - clean) if norm == "l2" else torch.minimum(torch.maximum(x, clean - size), clean + size)
