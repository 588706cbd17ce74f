"""What the attacker wants: one forward pass that says, for each image, how well it goes and whether it is done.

Attacks never see labels. They climb `Score.loss` and stop where `Score.won`; anybody may write their own objective.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._labels import as_labels, findings_of, logits_of
from medadv._quiet import modules_of
from medadv.types import Score


@dataclass(frozen=True)
class Objective:
    """A wish: `judge(image, *rows) -> Score`, and the tensors it needs, one row for each image.

    Your own: `Objective(lambda image, label: Score(my_loss(image, label), my_success(image, label)), (label,))`.
    """

    judge: Callable[..., Score]
    rows: tuple[Tensor, ...] = ()
    models: tuple[Any, ...] = ()
    """What an attack puts into eval mode while it runs: the modules that judge calls."""

    def __call__(self, image: Tensor) -> Score:
        return self.judge(image, *self.rows)

    def keep(self, rows: Tensor) -> Objective:
        """Return the same wish for a part of the batch."""
        return replace(self, rows=tuple(row[rows.to(row.device)] for row in self.rows))


def away_from(logits: Tensor, label: Tensor, loss: Tensor) -> Score:
    """Score an attacker who wants any class but one.

    Shapes   logits (B, K); label, loss (B,).
    Units    none.
    Returns  Score; a model that says NaN has not been fooled.
    Raises   nothing.
    Source   ours.
    """
    return Score(loss, (logits.argmax(1) != label) & ~loss.isnan())


def lead(logits: Tensor, label: Tensor) -> Tensor:
    """Measure by how much the best other class leads over one.

    Shapes   logits (B, K), label (B,); result (B,).
    Units    those of the logits.
    Returns  positive where another class has the largest logit.
    Raises   nothing.
    Source   Carlini and Wagner 2017, arXiv 1608.04644, the margin.
    """
    other = logits.scatter(1, label[:, None], -torch.inf).amax(1)
    return other - logits.gather(1, label[:, None])[:, 0]


def classify(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want any other class: climb the cross-entropy of the true one.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K), or to one logit (B,) or (B, 1) of class 1 against class 0;
             label (B,) of any integer type.
    Units    loss in nats.
    Returns  Objective; won where the largest logit is not the label's.
    Raises   ValueError if labels are not a row of integers, or the head returns no logits.
    Source   Goodfellow et al. 2015, arXiv 1412.6572.
    """
    label = as_labels(label, None, "classify", head=head)

    def judge(image: Tensor, label: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        return away_from(logits, label, F.cross_entropy(logits, label, reduction="none"))

    return Objective(judge, (label,), _modules(head))


def margin(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want any other class: climb the best wrong logit minus the true one, in units of the logits' spread.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K), K at least 2; label (B,) int64.
    Units    none: the ratio does not change when logits are shifted or scaled; for two classes, those of the logits.
    Returns  Objective; the loss is positive exactly where it is won (up to ties).
    Raises   ValueError if labels are not a row of integers, or the head returns no logits.
    Source   Croce and Hein 2020, arXiv 2003.01690, the DLR loss. Differs: it is undefined for two classes, where
             dividing by the spread would leave a constant without gradient; there the difference stays as it is.
             Classes masked with -inf do not count.
    """
    label = as_labels(label, None, "margin", head=head)

    def judge(image: Tensor, label: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        loss = lead(logits, label)
        if logits.shape[1] > 2:
            top = logits.topk(3, dim=1).values
            # A class masked with -inf is none: with two others left there is no spread, as with two classes.
            third = top[:, 2]
            loss = loss / torch.where(third == -torch.inf, 1, (top[:, 0] - third).clamp_min(1e-12))
        return away_from(logits, label, loss)

    return Objective(judge, (label,), _modules(head))


def logit_margin(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want any other class: climb the best wrong logit minus the true one, as it stands.

    Shapes   as `margin`.
    Units    those of the logits.
    Returns  Objective; the loss is positive exactly where it is won (up to ties).
    Raises   ValueError as `margin`.
    Source   Carlini and Wagner 2017, arXiv 1608.04644; the loss of the Square attack, arXiv 1912.00049.
    """

    def judge(image: Tensor, label: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        return away_from(logits, label, lead(logits, label))

    return replace(margin(head, label), judge=judge)


def targeted_dlr(head: Callable[[Tensor], Tensor], label: Tensor, target: Tensor) -> Objective:
    """Want any other class, by way of one of them: climb `targeted_dlr_loss`.

    Shapes   as `margin`; target (B,) int64, a class other than the label.
    Units    none: the ratio does not change when logits are shifted or scaled.
    Returns  Objective; won where the largest logit is not the label's, whichever class is.
    Raises   ValueError as `margin`.
    Source   Croce and Hein 2020, arXiv 2003.01690, equation 7.
    """

    def judge(image: Tensor, label: Tensor, target: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        return away_from(logits, label, targeted_dlr_loss(logits, label, target))

    want = margin(head, label)
    return replace(want, judge=judge, rows=(*want.rows, target))


def targeted_dlr_loss(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the true one in units of the spread: the targeted DLR loss.

    The spread is the largest logit minus the mean of the third and the fourth. With three classes there is no fourth,
    so the third stands alone; with two there is no spread that would leave a gradient, so the difference stays as it
    is. Classes masked with -inf do not count.

    Shapes   logits (B, K); label, target (B,) int64; result (B,).
    Units    none; for two classes, those of the logits.
    Returns  positive where the target's logit is above the label's.
    Raises   nothing.
    Source   Croce and Hein 2020, arXiv 2003.01690, equation 7.
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


def targeted(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want one class: climb its log-probability.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K); label (B,) int64, the class wanted.
    Units    loss in nats, at most 0.
    Returns  Objective; won where the largest logit is the target's.
    Raises   ValueError if labels are not a row of integers, or the head returns no logits.
    Source   Kurakin et al. 2017, arXiv 1611.01236.
    """
    label = as_labels(label, None, "targeted", head=head)

    def judge(image: Tensor, label: Tensor) -> Score:
        label = label.to(image.device)
        logits = logits_of(head, image, label)
        loss = -F.cross_entropy(logits, label, reduction="none")
        return Score(loss, (logits.argmax(1) == label) & ~loss.isnan())

    return Objective(judge, (label,), _modules(head))


def multilabel(head: Callable[[Tensor], Tensor], label: Tensor) -> Objective:
    """Want any finding of a multi-label reading flipped: climb the summed binary cross-entropy.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K), one for each finding; label (B, K) of 0 and 1.
    Units    loss in nats.
    Returns  Objective; won where any finding is on the wrong side of logit 0.
    Raises   ValueError if labels are not (B, K) of 0 and 1, or the head does not give one logit for each of them.
    Source   ours; the usual loss of multi-label radiograph models.
    """
    label = torch.as_tensor(label)
    if label.ndim != 2:
        raise ValueError(
            f"The 'label' parameter of multilabel must be (B, K) of 0 and 1; got shape {tuple(label.shape)}. "
            "Give every image one number for each finding: label[:, None] for a single one."
        )
    if label.numel() and not ((label == 0) | (label == 1)).all():
        raise ValueError(
            "The 'label' parameter of multilabel must be (B, K) of 0 and 1; got other values. "
            "Map uncertain findings to 0 or 1, or leave them out."
        )

    def judge(image: Tensor, label: Tensor) -> Score:
        logits, label = findings_of(head(image), label.shape), label.to(image.device)
        loss = F.binary_cross_entropy_with_logits(logits, label.float(), reduction="none").sum(1)
        return Score(loss, ((logits > 0) != (label > 0.5)).any(1))

    return Objective(judge, (label,), _modules(head))


def leave(encode: Callable[[Tensor], Tensor], anchor: Tensor, *, below: float = 0.0) -> Objective:
    """Want the embedding to leave an anchor: climb one minus the cosine.

    Shapes   encode: pixels (B, 3, H, W) to (B, D); anchor (B, D).
    Units    cosine.
    Returns  Objective; won where the cosine has fallen below `below`.
    Raises   ValueError if the anchor is not (B, D).
    Source   Zhang et al. 2022 (Co-Attack), arXiv 2206.09391, uses such a term.
    """
    _check_anchor(anchor, "leave")

    def judge(image: Tensor, anchor: Tensor) -> Score:
        near = F.cosine_similarity(encode(image).float(), anchor, dim=1)
        return Score(1 - near, near < below)

    return Objective(judge, (anchor,), _modules(encode))


def match(encode: Callable[[Tensor], Tensor], anchor: Tensor, *, above: float = 0.9) -> Objective:
    """Want the embedding to reach an anchor: climb the cosine.

    Shapes   encode: pixels (B, 3, H, W) to (B, D); anchor (B, D).
    Units    cosine.
    Returns  Objective; won where the cosine has risen above `above`.
    Raises   ValueError if the anchor is not (B, D).
    Source   Sabour et al. 2016, arXiv 1511.05122, in embedding space.
    """
    _check_anchor(anchor, "match")

    def judge(image: Tensor, anchor: Tensor) -> Score:
        near = F.cosine_similarity(encode(image).float(), anchor, dim=1)
        return Score(near, near > above)

    return Objective(judge, (anchor,), _modules(encode))


def pairs(encode: Callable[[Tensor], Tensor], other: Tensor, own: Tensor, *, k: int = 1) -> Objective:
    """Want an image to lose all its texts (or, with the texts' embeddings, a text to lose its images).

    Shapes   encode: pixels (B, 3, H, W) to unit (B, D); other (M, D) unit; own (B, M) bool, true where one of the
             other embeddings belongs to the row.
    Units    cosine.
    Returns  Objective; the loss is minus the mean cosine to the row's own (the set, not one pair); won where none
             of its own is among the k nearest of all, ties counting against the model.
    Raises   ValueError if shapes do not fit or a row owns nothing.
    Source   Lu et al. 2023 (SGA), arXiv 2307.14061, the set-level term; the mean instead of the sum, so that images
             with few captions count as much. Judged on embeddings (encode the identity) it serves texts too.
    """
    if other.ndim != 2 or own.ndim != 2 or own.dtype != torch.bool or own.shape[1] != len(other):
        raise ValueError(
            f"The 'own' parameter of pairs must be (B, {len(other)}) bool, one column for each row of 'other'; got "
            f"{own.dtype} {tuple(own.shape)}. Write index[:, None] == owner[None]."
        )
    if not own.any(1).all():
        raise ValueError("The 'own' parameter of pairs must give every row one text or more; got rows without any.")
    with torch.inference_mode(False):  # embeddings made under inference_mode could not stand beside a gradient
        other = other.detach().clone()

    def judge(image: Tensor, own: Tensor) -> Score:
        near = encode(image).float() @ other.T
        best = near.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        loss = -(near * own).sum(1) / own.sum(1)
        return Score(loss, ((near >= best) & ~own).sum(1) >= k)

    return Objective(judge, (own,), _modules(encode))


def expect(want: Objective, transform: Callable[[Tensor], Tensor], *, draws: int = 8) -> Objective:
    """Want it in expectation over a random transform (EOT): the mean loss, and success in most draws.

    Shapes   transform: pixels (B, 3, H, W) to pixels of the same batch.
    Units    those of the wrapped objective.
    Returns  Objective; the draws are new at every call.
    Raises   ValueError if draws is below 1.
    Source   Athalye et al. 2018, arXiv 1707.07397.
    """
    if draws < 1:
        raise ValueError(f"The 'draws' parameter of expect must be at least 1; got {draws}.")

    def judge(image: Tensor, *rows: Tensor) -> Score:
        scores = [want.judge(transform(image), *rows) for _ in range(draws)]
        loss = torch.stack([score.loss for score in scores]).mean(0)
        return Score(loss, torch.stack([score.won for score in scores]).float().mean(0) > 0.5)

    return Objective(judge, want.rows, want.models)


def _check_anchor(anchor: Tensor, name: str) -> None:
    if anchor.ndim != 2:
        raise ValueError(f"The 'anchor' parameter of {name} must be (B, D); got shape {tuple(anchor.shape)}.")


def _modules(call: Any) -> tuple[Any, ...]:
    """The modules behind a callable: itself, the owner of a bound method, what a function uses."""
    return modules_of(call).modules
