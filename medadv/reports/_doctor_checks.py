"""The checks of the doctor, one function each: (was it found, what was seen); and the case that they look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._labels import as_logits
from medadv._quiet import modules_of, quiet
from medadv._random import generator
from medadv.attacks.gradient import fgsm, pgd
from medadv.attacks.square import square
from medadv.objective import classify, margin
from medadv.threat import Threat
from medadv.types import AttackResult, Cost

FEW = 0.05
"""Share of the images that must show a symptom, and two at least: one image near the boundary is no sign."""
Found = tuple[bool | None, str]
"""None: the check could not be made."""


class Counting(nn.Module):
    """A head that counts the images it sees; eval mode reaches the model inside."""

    def __init__(self, head: Callable[[Tensor], Tensor]):
        super().__init__()
        self.head: Any = head
        self.classes = getattr(head, "classes", ())
        self.forwards = self.backwards = 0

    def forward(self, image: Tensor) -> Tensor:
        self.forwards += len(image)
        return as_logits(self.head(image), len(image), "doctor")

    def cost(self) -> Cost:
        """What was counted so far."""
        return Cost(self.forwards, self.backwards)


class Case:
    """One head with a few images: what several checks need is computed once."""

    def __init__(
        self, head, image: Tensor, label: Tensor, threat: Threat, surrogate, steps: int, queries: int, seed: int
    ):
        self.head, self.image, self.label, self.threat = Counting(head), image, label, threat
        self.surrogate, self.steps, self.queries = surrogate, steps, queries
        self.inside = modules_of(head)
        """The modules of the head, wherever a plain function keeps them."""
        self.training = any(part.training for module in self.inside.modules for part in module.modules())
        self.generator = generator(seed, device=image.device)

    def logits(self, image: Tensor) -> Tensor:
        """One forward pass in eval mode."""
        with quiet(self.head), torch.no_grad():
            return self.head(image).float()

    @cached_property
    def clean(self) -> Tensor:
        """(B, K) logits of the images as they are."""
        return self.logits(self.image)

    @cached_property
    def right(self) -> Tensor:
        """Rows that the model has right: only they can be lost."""
        return (self.clean.argmax(1) == self.label).nonzero().flatten()

    @cached_property
    def standing(self) -> Tensor:
        """Right rows that many steps along the gradient did not fool."""
        return self.right[~self.attack(pgd, self.right, random_start=True, generator=self.generator).won]

    def slope(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """(B,) largest entry of the gradient of a loss of the logits with respect to the pixels."""
        with torch.inference_mode(False), torch.enable_grad(), quiet(self.head):
            x = self.image.detach().clone().requires_grad_()
            total = loss(self.head(x).float()).sum()
            self.head.backwards += len(x)
            (got,) = torch.autograd.grad(total, x, allow_unused=True) if total.requires_grad else (None,)
        return self.image.new_zeros(len(x)) if got is None else got.abs().flatten(1).amax(1)

    @cached_property
    def steep(self) -> Tensor:
        """(B,) slope of the lead of the best wrong class over the true one."""
        return self.slope(self.lead)

    def lead(self, logits: Tensor) -> Tensor:
        """(B,) best wrong logit minus the true one."""
        other = logits.scatter(1, self.label[:, None], -torch.inf).amax(1)
        return other - logits.gather(1, self.label[:, None])[:, 0]

    @cached_property
    def blind(self) -> bool:
        """Whether no gradient comes back at all, so that white-box attacks cannot even be started."""
        with torch.enable_grad(), quiet(self.head):
            x = self.image[:1].detach().clone().requires_grad_()
            logits = self.head(x)
            self.head.backwards += 1
            # Weights that can be trained make logits that have a gradient, though none reaches the pixels.
            return not (logits.requires_grad and torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] is not None)

    def attack(self, verb, rows: Tensor, *, threat: Threat | None = None, want=classify, **options) -> AttackResult:
        """Attack some of the rows."""
        image = self.image[rows]
        if verb is pgd:
            options = {"steps": self.steps, **options}
        if not len(rows) or (verb is pgd and self.blind):
            return AttackResult(image, torch.zeros_like(rows, dtype=torch.bool), image.new_zeros(len(rows)))
        result = verb(want(self.head, self.label[rows]), image, threat or self.threat, **options)
        self.head.backwards += result.cost.backwards
        return result

    def many(self, count: int, of: int | None = None) -> bool:
        """Whether so many images are more than chance and rounding."""
        return count >= 2 and count > FEW * (len(self.right) if of is None else of)


def not_finite(case: Case) -> Found:
    """Infinite logits, or none. Minus infinity is legal for a class that is masked out."""
    lead = case.lead(case.clean)
    broken = (case.clean.isnan() | (case.clean == torch.inf)).any(1) | lead.isnan() | (lead == torch.inf)
    count = int(broken.sum())
    return count > 0, f"{count} of {len(case.clean)} images have logits that are infinite or no numbers."


def probabilities(case: Case) -> Found:
    """Outputs that are no logits."""
    low, sums = float(case.clean.min()), case.clean.sum(1)
    spread = float((sums - 1).abs().max())
    return (
        low >= 0 and spread < 1e-3,
        f"The smallest output is {low:.3g}, and sums differ from 1 by up to {spread:.3g}.",
    )


def randomised(case: Case) -> Found:
    """Another answer the second time."""
    moved = float(_apart(case.logits(case.image), case.clean).max())
    return moved > 1e-4 * (1 + _spread(case)), f"The same images twice: logits differ by up to {moved:.3g}."


def other_mode(case: Case) -> Found:
    """Another answer in the mode in which the model came."""
    if not case.training:
        if not case.inside.modules or not case.inside.sure:
            return (
                None,
                "Whether every part is in eval mode cannot be known: not all of this callable can be looked into.",
            )
        return False, "Every part of the model is in eval mode."
    buffers = [value for module in case.inside.modules for value in module.buffers()]
    kept = [value.clone() for value in buffers]
    cards = [case.image.device] if case.image.is_cuda else []
    with torch.random.fork_rng(devices=cards), torch.no_grad():
        moved = float(_apart(case.head(case.image).float(), case.clean).max())
        for value, before in zip(buffers, kept, strict=True):  # running statistics moved: no trace is left
            value.copy_(before)
    found = moved > 1e-4 * (1 + _spread(case))
    return found, f"Training mode as it came against eval mode under attack: logits differ by up to {moved:.3g}."


def nothing_changes(case: Case) -> Found:
    """Another verdict after an attack that may do nothing."""
    rows, none_at_all = torch.arange(len(case.image), device=case.image.device), replace(case.threat, eps=0.0)
    none = case.attack(pgd, rows, threat=none_at_all, steps=2, stop=False, generator=case.generator)
    before, after = case.clean.argmax(1), case.logits(none.image).argmax(1)
    count = int(((none.won != (before != case.label)) | (after != before)).sum())
    return count > 0, f"With eps = 0, {count} of {len(after)} images are not judged as without an attack."


def neighbours(case: Case) -> Found:
    """Another answer beside other images."""
    halves = torch.cat([case.logits(part) for part in case.image.split(max(1, len(case.image) // 2))])
    lowest = case.clean.masked_fill(case.clean == -torch.inf, torch.inf).amin(1)
    room = (case.clean.amax(1) - lowest).clamp_min(1e-6)
    count = int((_apart(halves, case.clean).amax(1) > 0.02 * room).sum())
    return case.many(count, len(room)), f"{count} of {len(room)} images have other logits in a smaller batch."


def broken_gradient(case: Case) -> Found:
    """Slopes that are no numbers, though the logits are."""
    count = int((~case.steep.isfinite()).sum())
    return count > 0, f"{count} of {len(case.steep)} images have a gradient that is NaN or infinite."


def no_gradient(case: Case) -> Found:
    """Pixels that the gradient does not reach."""
    if case.blind:
        return True, "No gradient reaches the pixels: the logits do not depend on them for autograd."
    count, many = int((case.steep == 0).sum()), len(case.steep)
    return case.many(count, many), f"{count} of {many} images send no gradient to their pixels."


def saturated(case: Case) -> Found:
    """A cross-entropy that is flat where the margin is not."""
    flat = case.slope(lambda logits: F.cross_entropy(logits, case.label, reduction="none")) == 0
    dead = int((flat & (case.steep > 0)).sum())
    more = int(case.attack(pgd, case.standing, want=margin, generator=case.generator).won.sum())
    found = case.many(dead, len(flat)) or (more >= 2 and more > 0.1 * len(case.right))
    seen = f"{dead} of {len(flat)} images have no gradient of the cross-entropy but one of the margin;"
    return found, f"{seen} the margin fools {more} more of {len(case.right)}."


def one_step(case: Case) -> Found:
    """One step that does what many could not."""
    if case.blind:
        return None, "Not run: there is no gradient."
    more = int(case.attack(fgsm, case.standing).won.sum())
    return case.many(more), f"One step fools {more} of the {len(case.standing)} images that {case.steps} steps leave."


def black_box(case: Case) -> Found:
    """Scores alone that do what the gradient could not."""
    if case.threat.norm == "l1":
        return None, "Not run: Square knows L-inf and L2."
    tried = case.attack(square, case.standing, want=margin, queries=case.queries, generator=case.generator)
    more = int(tried.won.sum())
    seen = (
        f"Square with {case.queries} queries fools {more} of the {len(case.standing)} images that the gradient leaves."
    )
    return case.many(more), seen


def transfer(case: Case) -> Found:
    """Another model's images that do what the gradient could not."""
    if case.surrogate is None:
        return None, "Not run: no surrogate was given."
    rows = case.standing
    if not len(rows):
        return False, "The gradient leaves no image."
    want = classify(case.surrogate, case.label[rows])
    try:
        moved = pgd(want, case.image[rows], case.threat, steps=case.steps, stop=False, generator=case.generator)
    except ValueError as error:
        return None, f"Not run with this surrogate: {error}"
    more = int((case.logits(moved.image).argmax(1) != case.label[case.standing]).sum())
    return case.many(more), f"The surrogate's images fool {more} of the {len(case.standing)} that the gradient leaves."


def unbounded(case: Case) -> Found:
    """Images that withstand an attacker who may do anything."""
    size = case.image[0].numel()
    eps = {"linf": 0.5, "l2": 0.5 * math.sqrt(size), "l1": 0.5 * size}[case.threat.norm]
    wide = replace(case.threat, eps=max(float(f"{eps:.3g}"), case.threat.eps))
    left = len(case.standing) - int(case.attack(pgd, case.standing, threat=wide, generator=case.generator).won.sum())
    return case.many(left), f"{left} of {len(case.right)} images withstand {wide}, where any image is within reach."


def wider(case: Case) -> Found:
    """Images that a wider ball brings back."""
    lost = case.right[~torch.isin(case.right, case.standing)]
    eps = case.threat.eps * 4
    wide = replace(case.threat, eps=min(eps, 1.0) if case.threat.norm == "linf" else eps)
    back = len(lost) - int(case.attack(pgd, lost, threat=wide, generator=case.generator).won.sum())
    return case.many(back, len(lost)), f"{back} of {len(lost)} images fooled at {case.threat} withstand {wide}."


def more_steps(case: Case) -> Found:
    """A loss that more steps do not raise."""
    if case.blind or not len(case.right):
        return None, "Not run: there is no gradient, or no image is right."
    few = max(1, case.steps // 4)
    how: dict[str, Any] = {"stop": False, "random_start": False}
    short = float(case.attack(pgd, case.right, steps=few, **how).loss.mean())
    long = float(case.attack(pgd, case.right, **how).loss.mean())
    start = float(F.cross_entropy(case.clean[case.right], case.label[case.right]))
    found = long < short - 1e-3 * (1 + abs(short)) or long <= start + 1e-6
    return found, f"The loss is {start:.3g} clean, {short:.3g} after {few} steps, {long:.3g} after {case.steps}."


def constant(case: Case) -> Found:
    """An accuracy that needs no model."""
    most = float(case.label.bincount().max()) / len(case.label)
    right = len(case.right) / len(case.label)
    return right <= most + FEW, f"Accuracy {right:.2f}; naming the commonest class always would give {most:.2f}."


def _apart(logits: Tensor, other: Tensor) -> Tensor:
    """How far logits are from each other; classes that are masked out in both are equal."""
    return torch.where(logits == other, 0.0, (logits - other).abs())


def _spread(case: Case) -> float:
    return float(case.clean[case.clean.isfinite()].std())


def few_classes(case: Case) -> Found:
    """Too few classes for the losses of AutoAttack."""
    many = case.clean.shape[1]
    return many < 3, f"{many} classes; the DLR loss needs three (and its targeted form four)."
