"""Worlds small enough to be solved exactly, so that a learner can see what the large thing tends to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class World:
    """All images there are, all captions there are, and how often each pair occurs."""

    images: tuple[str, ...]
    captions: tuple[str, ...]
    joint: Tensor
    """(B, N) float64, the probability of every pair; sums to 1."""


class Fit(NamedTuple):
    """What gradient descent found, and the way there."""

    score: Tensor
    """(B, N) the learned score of every pair."""
    loss: float
    path: tuple[tuple[int, Tensor, Tensor], ...] = ()
    """(step, image vectors (B, D), caption vectors (N, D)) at the steps asked for."""


def chest_world(error: float = 0.05) -> World:
    """Make a world of four chest radiographs and six captions, some true of two images, with careless
    reporting.

    Shapes   joint (4, 6).
    Units    error is the share of captions drawn without looking at the image.
    Returns  a World.
    Raises   ValueError if error is outside [0, 1].
    Source   ours.
    """
    if not 0 <= error <= 1:
        raise ValueError(f"The 'error' parameter of chest_world must be in [0, 1]; got {error}. It is a share.")
    images = ("clear lungs", "opacity left", "opacity right", "effusion")
    captions = (
        "the lungs are clear",
        "nothing abnormal is seen",
        "an opacity on the left",
        "an opacity on the right",
        "a lung shows an opacity",
        "fluid at the base",
    )
    prior = torch.tensor([0.4, 0.2, 0.2, 0.2], dtype=torch.float64)
    said = torch.tensor(
        [
            [0.5, 0.5, 0, 0, 0, 0],
            [0, 0, 0.6, 0, 0.4, 0],
            [0, 0, 0, 0.6, 0.4, 0],
            [0, 0, 0, 0, 0, 1.0],
        ],
        dtype=torch.float64,
    )
    return World(images, captions, prior[:, None] * ((1 - error) * said + error / len(captions)))


def pmi(joint: Tensor) -> Tensor:
    """Compute how much more often each pair occurs than if image and caption were drawn apart.

    Shapes   joint (B, N); result the same.
    Units    nats; -inf where a pair never occurs.
    Returns  log p(x, t) - log p(x) - log p(t).
    Raises   nothing.
    Source   the definition of pointwise mutual information.
    """
    return joint.log() - joint.sum(1, keepdim=True).log() - joint.sum(0, keepdim=True).log()


def information(joint: Tensor) -> float:
    """Compute the mutual information of image and caption.

    Shapes   joint (B, N).
    Units    nats.
    Returns  the mean of `pmi` over the pairs.
    Raises   nothing.
    Source   the definition of mutual information.
    """
    return float((joint * torch.nan_to_num(pmi(joint), neginf=0.0)).sum())


def population_loss(score: Tensor, joint: Tensor) -> Tensor:
    """Compute the contrastive loss as it is with an endless batch; log(batch size) is left out.

    Shapes   score (B, N), joint (B, N); result a scalar.
    Units    nats; never below minus the mutual information.
    Returns  the mean over both directions.
    Raises   nothing.
    Source   van den Oord et al. 2018, appendix A.1, arXiv 1807.03748, in both directions.
    """
    image, text = joint.sum(1), joint.sum(0)
    to_text = image @ torch.logsumexp(score + text.log(), dim=1)
    to_image = text @ torch.logsumexp(score + image.log()[:, None], dim=0)
    return (to_text + to_image) / 2 - (joint * score).sum()


def fit_free(joint: Tensor, *, steps: int = 400, lr: float = 0.1) -> Fit:
    """Learn one free score for each pair by gradient descent.

    Shapes   joint (B, N).
    Units    lr is Adam's step.
    Returns  a Fit; the scores tend to `pmi` plus a constant.
    Raises   nothing.
    Source   ours; the optimum is that of Levy and Goldberg 2014 for this loss.
    """
    score = torch.zeros_like(joint, requires_grad=True)
    adam = torch.optim.Adam([score], lr=lr)
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        adam.zero_grad()
        population_loss(score, joint).backward()
        adam.step()
    return Fit(score.detach(), float(population_loss(score.detach(), joint)))


def fit_vectors(
    joint: Tensor,
    *,
    width: int = 2,
    steps: int = 320,
    lr: float = 0.05,
    keep: tuple[int, ...] = (),
    seed: int = 0,
) -> Fit:
    """Learn a unit vector for each image and caption, and one scale: a CLIP whose towers are tables.

    Shapes   joint (B, N); vectors (B, width) and (N, width).
    Units    lr is Adam's step; keep lists steps from 0 to `steps`.
    Returns  a Fit with the vectors at the steps in `keep`.
    Raises   nothing.
    Source   Radford et al. 2021, figure 3, arXiv 2103.00020, with an endless batch.
    """
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(joint.shape[0], width, generator=draw, dtype=torch.float64).requires_grad_()
    text = torch.randn(joint.shape[1], width, generator=draw, dtype=torch.float64).requires_grad_()
    log_scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([image, text, log_scale], lr=lr)
    path = []

    def score() -> Tensor:
        return log_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T

    for step in range(steps + 1):
        if step in keep:
            path.append((step, F.normalize(image, dim=-1).detach(), F.normalize(text, dim=-1).detach()))
        if step == steps:
            break
        adam.zero_grad()
        population_loss(score(), joint).backward()
        adam.step()
    return Fit(score().detach(), float(population_loss(score().detach(), joint)), tuple(path))
