"""One perturbation for many images, and how many it fools that it has never seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medadv._quiet import quiet
from medadv.attacks._loop import NO_GRADIENT, broken_points, check_score, refuse_nan, region_of, steepest_step
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import Cost, Score


@dataclass(frozen=True)
class Fooled:
    """How many of some images a perturbation fooled."""

    images: int
    before: int
    """Won without the perturbation."""
    after: int
    """Won with it."""
    turned: int
    """Won with it and not without."""

    @property
    def rate(self) -> float:
        """The fooling rate: turned among those that were not won before; nan where there were none."""
        return self.turned / (self.images - self.before) if self.images > self.before else float("nan")


@dataclass(frozen=True)
class Universal:
    """A perturbation with the evidence for it; apply it with `(image + perturbation).clamp(0, 1)`."""

    perturbation: Tensor
    """(1, 3, H, W) within the threat's ball."""
    train: Fooled
    """On the images it was made from."""
    held_out: Fooled
    """On the images it has not seen: the number to report."""
    cost: Cost

    def __repr__(self) -> str:
        told = f"train {self.train.turned}/{self.train.images - self.train.before}"
        held = f"held out {self.held_out.turned}/{self.held_out.images - self.held_out.before}"
        return f"Universal({told}, {held} turned, {self.cost.forwards}+{self.cost.backwards} passes)"


def universal(
    wish: Callable[[Any], Objective],
    image: Tensor | Callable[[Tensor], Tensor],
    target: Tensor,
    threat: Threat | str,
    *,
    held_out: float | Tensor = 0.5,
    region: Tensor | None = None,
    epochs: int = 10,
    step: float | None = None,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Universal:
    """Climb the mean objective of many images with one perturbation for all of them.

    `wish` makes the objective of a batch from its rows of target: `partial(classify, head)` with labels as target.
    `image` may be a function of row numbers, so that a data set of any size is read batch by batch:
    `universal(partial(classify, head), lambda rows: pairs.batch(rows).image, pairs.labels, threat)`.

    Shapes   image (N, 3, H, W) in [0, 1], or a function: rows (B,) to (B, 3, H, W); target (N, ...); region (H, W)
             or (1, 1, H, W), bool or 0 and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps and step in pixel units; held_out is a share of the N images, or the row numbers themselves:
             give them where several images are of one patient. A pixel moves by one half at most.
    Returns  Universal: the perturbation and its fooling rate, on the images it was made from and on the others.
    Raises   ValueError if image leaves [0, 1] (did you normalise? the VLM does it inside), epochs is below 1, no
             image is left to make it from, the model returns NaN for a clean image, or no gradient reaches the pixels.
    Source   Shafahi et al. 2020, algorithm 1, arXiv 1811.11304 (the problem: Moosavi-Dezfooli et al. 2017, arXiv
             1610.08401). Differs: any objective, not clipped; steps of eps / 5 that shrink to nothing in a line.
    """
    if epochs < 1:
        raise ValueError(f"The 'epochs' parameter of universal must be at least 1; got {epochs}.")
    began, forwards, backwards, threat = time.perf_counter(), 0, 0, Threat.of(threat)
    train, held = _split(len(target), held_out, generator)
    walk = _Walk(wish, image, target, batch_size, threat)
    total, done = epochs * -(-len(train) // batch_size), 0
    step = threat.eps / 5 if step is None else step
    with torch.inference_mode(False), torch.enable_grad():
        grey = torch.full_like(walk.image(train[:1]), 0.5)  # the middle of the box: a pixel can go both ways
        moved, mask = torch.zeros_like(grey), region_of(region, grey)
        for epoch in _bar(epochs, progress):
            order = train[_shuffle(len(train), generator)]
            for part, pixels, want in walk(order):
                moved = moved.detach().requires_grad_()
                with quiet(*want.models, want.judge):
                    score = want((pixels + moved).clamp(0, 1))
                    if not epoch:
                        _check(want, score, pixels, part)
                    gradient = None
                    if score.loss.requires_grad:
                        (gradient,) = torch.autograd.grad(score.loss.mean(), moved, allow_unused=True)
                if gradient is None:
                    raise ValueError(NO_GRADIENT)
                gradient = gradient.nan_to_num(0, 0, 0)
                gradient = gradient if mask is None else gradient * mask
                here = step * (1 - done / total)
                moved = steepest_step(threat, grey + moved.detach(), grey, gradient, here) - grey
                moved = moved if mask is None else moved * mask
                done, forwards, backwards = done + 1, forwards + len(pixels), backwards + len(pixels)
        moved = moved.detach()
        seen, unseen = _count(walk, train, moved), _count(walk, held, moved)
    forwards += 2 * len(target)
    return Universal(moved, seen, unseen, Cost(forwards, backwards, 0, time.perf_counter() - began))


class _Walk:
    """Goes through images in batches, with the objective of each."""

    def __init__(self, wish, image, target, batch_size, threat):
        self.wish, self.target, self.batch_size, self.threat = wish, target, batch_size, threat
        self.image = image if callable(image) else lambda rows: image[rows.to(image.device)]

    def __call__(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor, Objective]]:
        for part in rows.split(self.batch_size):
            pixels = self.threat.check(self.image(part).detach())
            target = self.target[part.to(self.target.device)].to(pixels.device)
            # Clones made here, outside inference_mode, may take part in a gradient.
            yield part, pixels.clone() if pixels.is_inference() else pixels, self.wish(target.clone())


def _check(want: Objective, score: Score, pixels: Tensor, rows: Tensor) -> None:
    """At the first look at an image: the right shapes, and no NaN where it is clean."""
    with broken_points(), torch.no_grad():
        check_score(score, rows)
        if score.loss.isnan().any():
            refuse_nan(want(pixels).loss, rows)


@torch.no_grad()
def _count(walk: _Walk, rows: Tensor, moved: Tensor) -> Fooled:
    before = after = turned = 0
    for part, pixels, want in walk(rows) if len(rows) else ():
        with quiet(*want.models, want.judge):
            clean, score = want(pixels), want((pixels + moved).clamp(0, 1))
        refuse_nan(clean.loss, part)
        old, new = clean.won, score.won & ~score.loss.isnan()  # a model that broke down has not been fooled
        before, after, turned = before + int(old.sum()), after + int(new.sum()), turned + int((new & ~old).sum())
    return Fooled(len(rows), before, after, turned)


def _split(many: int, held_out: float | Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    if isinstance(held_out, Tensor):
        held = held_out.nonzero().flatten() if held_out.dtype == torch.bool else held_out.long()
        mine = torch.ones(many, dtype=torch.bool)
        mine[held.cpu()] = False
        train = mine.nonzero().flatten()
    else:
        if not 0 <= held_out < 1:
            raise ValueError(f"The 'held_out' parameter of universal must be in [0, 1) or row numbers; got {held_out}.")
        order, kept = _shuffle(many, generator), round(many * (1 - held_out))
        train, held = order[:kept], order[kept:]
    if not len(train):
        raise ValueError("The 'held_out' parameter of universal must leave images to learn from; got none left.")
    return train, held.cpu()


def _shuffle(many: int, generator: torch.Generator | None) -> Tensor:
    where = generator.device if generator is not None else "cpu"
    return torch.randperm(many, generator=generator, device=where).cpu()


def _bar(epochs: int, progress: bool):
    from tqdm.auto import tqdm

    return tqdm(range(epochs), desc="universal", disable=not progress, leave=False)
