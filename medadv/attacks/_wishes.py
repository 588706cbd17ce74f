"""Objectives that only attacks need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from medadv._labels import logits_of
from medadv.objective import Objective, away_from, lead, margin
from medadv.types import Score


def gap(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want any other class: climb the best wrong logit minus the true one, as it stands."""

    def judge(image: Tensor, label: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        return away_from(logits, label, lead(logits, label))

    return replace(margin(head, label), judge=judge)


def toward(head: Callable[[Tensor], Tensor], label: Tensor, target: Tensor) -> Objective:
    """Want any other class, by way of one of them: climb `toward_loss`."""

    def judge(image: Tensor, label: Tensor, target: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        return away_from(logits, label, toward_loss(logits, label, target))

    want = margin(head, label)
    return replace(want, judge=judge, rows=(*want.rows, target))


def toward_loss(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the true one in units of the spread: the targeted DLR loss.

    Croce and Hein 2020, equation 7: the spread is the largest logit minus the mean of the third and the fourth. With
    three classes there is no fourth, so the third stands alone; with two there is no spread that would leave a
    gradient, so the difference stays as it is. Classes masked with -inf do not count.
    """
    loss = (logits.gather(1, target[:, None]) - logits.gather(1, label[:, None]))[:, 0]
    if logits.shape[1] > 2:
        top = logits.topk(min(logits.shape[1], 4), dim=1).values
        below = top[:, 2:]
        there = below != -torch.inf
        many = there.sum(1)
        mean = below.masked_fill(~there, 0).sum(1) / many.clamp_min(1)
        loss = loss / torch.where(many > 0, (top[:, 0] - mean).clamp_min(1e-12), 1)
    return loss
