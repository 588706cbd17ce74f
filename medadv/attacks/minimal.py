"""The smallest perturbation instead of a given budget: bisection on any attack, and DDN for L2."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from medadv._random import fork
from medadv.attacks._loop import ActiveBatch, broken_points, plus
from medadv.attacks.gradient import pgd
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import AttackResult

SPAN = 10_000
"""How many times smaller than the largest budget the smallest one is where nothing else is asked for."""


@dataclass(frozen=True, repr=False)
class SmallestResult(AttackResult):
    """What a search for small perturbations found; `image` is the adversarial image where there is one."""

    eps: Tensor = field(default_factory=lambda: torch.empty(0))
    """(B,) the smallest perturbation that succeeded: 0 where the clean image does already, inf where none did."""

    def __repr__(self) -> str:
        found = self.eps[self.eps.isfinite()]
        middle = f"median {float(found.median()):.4g}" if len(found) else "none"
        passes = f"{self.cost.forwards}+{self.cost.backwards} passes"
        return f"SmallestResult({len(found)}/{len(self)} found, {middle}; {passes})"


def smallest_eps(
    objective: Objective,
    image: Tensor,
    *,
    norm: str = "linf",
    attack: Callable[..., AttackResult] = pgd,
    low: float | None = None,
    high: float | None = None,
    tolerance: float = 0.02,
    grey: bool = False,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> SmallestResult:
    """Find the smallest budget at which an attack succeeds, for each image, by bisection.

    The budgets lie on a grid from `low` to `high` with a constant ratio of at most 1 + tolerance. Images that stand at
    the same place of the grid are attacked together, and an image leaves as soon as its budget is known. A perturbation
    that turns out smaller than its budget shortens the search. What `attack` finds is an upper bound of the true
    distance to the decision boundary; a stronger attack gives a smaller one. A search on a head and labels:

        result = smallest_eps(classify(head, label), image, norm="linf", steps=40)
        result = smallest_eps(classify(head, label), image, norm="l2", attack=square, queries=500)

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; result.eps (B,); region as in `pgd`.
    Units    low, high and result.eps in pixel units; tolerance is a share. Where they are not given, high is the
             largest distance that the pixel box allows (1 in L-inf) and low a ten-thousandth of high.
    Returns  SmallestResult. eps is 0 where the clean image succeeds already, inf where the attack fails at `high` (then
             image is what it returned there). Otherwise eps is a budget of the grid, rounded upwards: `image` lies
             within it, and the attack has failed at the next smaller budget unless that is below `low`. The search
             takes success to be monotone in the budget; where an attack is not, smaller budgets may succeed too.
    Raises   ValueError if not 0 < low < high, tolerance is outside (0, 1), the norm is not known, or as `attack`.
    Source   ours. `attack` is a function (objective, image, threat, *, ...) -> AttackResult; `options` go to it, and so
             do `region` and `generator` where they are given.
    """
    began = time.perf_counter()
    budgets = _grid(image, norm, low, high, tolerance)
    threat = Threat(norm, budgets[-1], grey)
    begin, objective, image, region = _clean(objective, image, threat, region)
    # What is made under inference_mode can take part in no gradient; a model that breaks down has not been fooled.
    with torch.inference_mode(False), broken_points():
        grid = torch.tensor(budgets, dtype=torch.float64)
        best, success, loss, cost = begin.image.clone(), begin.won.clone(), begin.loss.clone(), begin.cost
        # Places on the grid: the attack fails at `fails` and below, as far as is known, and succeeds at `wins`.
        fails = torch.full((len(image),), -1)
        wins = torch.full((len(image),), len(budgets))
        live = ~begin.won.cpu()
        place = torch.full((len(image),), len(budgets) - 1)
        while live.any():
            for one in place[live].unique().tolist():
                rows = (live & (place == one)).nonzero().flatten()
                there = rows.to(image.device)
                how = dict(options) if region is None else {"region": region[there], **options}
                if generator is not None:
                    how["generator"] = fork(generator, len(image), there)
                budget = Threat(norm, budgets[one], grey)
                found = attack(objective.keep(there), image[there], budget, **how)
                cost = plus(cost, found.cost)
                won = found.won.cpu()
                # Rounding must not lift a perturbation of just this size to the next place.
                size = budget.size(found.image, image[there]).cpu().double() * (1 - 1e-6)
                wins[rows[won]] = torch.searchsorted(grid, size[won]).clamp_max(one)
                fails[rows[~won]] = one
                taken = found.won | ~success[there]
                best[there[taken]], loss[there[taken]] = found.image[taken], found.loss[taken].to(loss.dtype)
                success[there] |= found.won
            fails = torch.minimum(fails, wins - 1)
            live &= success.cpu() & (wins - fails > 1)
            place = (fails + wins) // 2
        eps = torch.cat([grid, grid.new_tensor([torch.inf])])[wins].masked_fill(begin.won.cpu(), 0).to(loss)
    cost = cost._replace(seconds=time.perf_counter() - began)
    return SmallestResult(best, success, loss, cost, None, eps)


def ddn(
    objective: Objective,
    image: Tensor,
    threat: Threat | str | None = None,
    *,
    steps: int = 100,
    gamma: float = 0.05,
    region: Tensor | None = None,
) -> SmallestResult:
    """Find a small L2 perturbation: follow the gradient, and shrink the sphere after a success, else widen it.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; result.eps (B,); region as in `pgd`.
    Units    eps in pixel units; steps counts backward passes; gamma is the first relative change of the radius.
    Returns  SmallestResult: the smallest adversarial perturbation found, eps its L2 size (0 where the clean image
             succeeds already, inf where none was found). With a threat, an image succeeds where eps is at most
             threat.eps; elsewhere its best perturbation is cut to the budget and scored there.
    Raises   ValueError if image leaves [0, 1], the threat is not L2, steps is below 1, gamma is outside (0, 1), or no
             gradient reaches the pixels.
    Source   Rony et al. 2019, algorithm 1, arXiv 1811.09600. DDN rather than FMN (Pintor et al. 2021, arXiv
             2102.12827), because it needs nothing but a gradient and a verdict: FMN estimates the distance to the
             boundary from a loss that is zero there, which most objectives are not. Differs: images are not quantised;
             until an image has seen a success and a failure its radius is halved or doubled; gamma falls to a fiftieth
             on a cosine, as in FMN; the last point is scored too; an image without a gradient stays where it is.
    """
    if steps < 1:
        raise ValueError(f"The 'steps' parameter of ddn must be at least 1; got {steps}.")
    if not 0 < gamma < 1:
        raise ValueError(f"The 'gamma' parameter of ddn must be between 0 and 1; got {gamma}. The paper takes 0.05.")
    threat = Threat("l2", _reach(image, "l2")) if threat is None else Threat.of(threat)
    if threat.norm != "l2":
        raise ValueError(
            f"The 'threat' parameter of ddn must be l2; got {threat.norm}. Use smallest_eps for other norms."
        )
    began = time.perf_counter()
    begin, objective, image, region = _clean(objective, image, threat, region)
    rows = (~begin.won).nonzero().flatten()
    # What is made under inference_mode can take part in no gradient; a model that breaks down has not been fooled.
    with torch.inference_mode(False), broken_points():
        best, success, loss, cost = begin.image.clone(), begin.won.clone(), begin.loss.clone(), begin.cost
        eps = torch.zeros_like(loss)
        if len(rows):
            part = None if region is None else region[rows]
            with ActiveBatch(objective.keep(rows), image[rows], threat, stop=False, region=part) as active:
                point, size = _descend(active, threat, steps, gamma)
                best[rows], success[rows], loss[rows], size = cut_to_budget(active, threat, point, size)
                eps[rows] = size.to(eps)
                cost = plus(cost, active.result().cost)
    return SmallestResult(best, success, loss, cost._replace(seconds=time.perf_counter() - began), None, eps)


def cut_to_budget(
    active: ActiveBatch, threat: Threat, point: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bring points that lie too far away back into the ball, and ask once what the model says of all of them.

    Shapes   point (B, 3, H, W), eps (B,) their sizes where they are adversarial.
    Units    pixel units.
    Returns  points within the threat, (B,) success, (B,) loss, and eps, which is inf where the model takes back what it
             said of a point inside the ball.
    Raises   nothing.
    Source   ours.
    """
    far = eps > threat.eps
    point = active.inside(torch.where(far.view(-1, 1, 1, 1), threat.project(point, active.clean), point))
    score = active.score(point)
    success = score.won & ~score.loss.isnan()
    return point, success, score.loss.float(), eps.masked_fill(~success & ~far, torch.inf)


def _descend(active: ActiveBatch, threat: Threat, steps: int, gamma: float) -> tuple[Tensor, Tensor]:
    """The loop of DDN on images that are not adversarial yet: the best point of each, and its size (inf for none)."""
    x = clean = active.clean
    radius = x.new_full((len(x),), min(threat.eps, 1.0) or 1.0)
    best, smallest = x.clone(), torch.full_like(radius, torch.inf)
    above, below = torch.zeros_like(radius, dtype=torch.bool), torch.zeros_like(radius, dtype=torch.bool)
    for step in range(steps + 1):
        if step == steps:
            score = active.score(x)
        else:
            score, gradient = active.gradient(x)
        success, size = score.won & ~score.loss.isnan(), threat.size(x, clean)
        better = success & (size < smallest)
        best, smallest = torch.where(better.view(-1, 1, 1, 1), x, best), torch.where(better, size, smallest)
        if step == steps:
            break
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        change = gamma * (0.02 + 0.98 * cosine)
        if step:
            above, below = above | success, below | ~success
            factor = torch.where(success, 1 - change, 1 + change).to(radius)
            coarse = torch.where(success, 0.5, 2.0).to(radius)
            radius = radius * torch.where(above & below, factor, coarse)
        moved = x - clean + (0.01 + 0.99 * cosine) * threat.ascend(gradient)
        length = threat.size(clean + moved, clean).clamp_min(1e-12)
        x = (clean + moved * (radius / length).view(-1, 1, 1, 1)).clamp(0, 1)
    # Where nothing succeeded the last point is the best guess of a direction.
    return torch.where(smallest.isinf().view(-1, 1, 1, 1), x, best), smallest


def _clean(
    objective: Objective, image: Tensor, threat: Threat, region: Tensor | None
) -> tuple[AttackResult, Objective, Tensor, Tensor | None]:
    """Score the clean images; return that, and what the attacks that follow may take rows of."""
    with ActiveBatch(objective, image, threat, region=region) as active:
        if len(active):
            active.score(active.clean)
        return active.result(), active.want, active.image, active.region


def _grid(image: Tensor, norm: str, low: float | None, high: float | None, tolerance: float) -> list[float]:
    """The budgets from low to high, one after another larger by the same factor."""
    if norm not in ("linf", "l2", "l1"):
        raise ValueError(f"The 'norm' parameter of smallest_eps must be linf, l2 or l1; got {norm!r}.")
    if not 0 < tolerance < 1:
        raise ValueError(f"The 'tolerance' parameter of smallest_eps must be between 0 and 1; got {tolerance}.")
    high = _reach(image, norm) if high is None else high
    low = high / SPAN if low is None else low
    if not 0 < low < high < math.inf:
        raise ValueError(
            f"The 'low' parameter of smallest_eps must be above 0 and below 'high'; got {low:g} and {high:g}. Leave "
            "both out for the whole range."
        )
    many = max(math.ceil(math.log(high / low) / math.log1p(tolerance)), 1)
    return [low * (high / low) ** (place / many) for place in range(many)] + [high]


def _reach(image: Tensor, norm: str) -> float:
    """No two points of the pixel box are further apart."""
    values = max(image[0].numel(), 1) if image.ndim and len(image) else 1
    return {"linf": 1.0, "l2": values**0.5, "l1": float(values)}[norm]
