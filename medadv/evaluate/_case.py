"""One head and a few images under examination: what several checks of the doctor need is computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from medadv._labels import as_logits
from medadv._quiet import modules_of, quiet
from medadv._random import generator
from medadv.attacks.gradient import pgd
from medadv.objective import classify
from medadv.threat import Threat
from medadv.types import AttackResult, Cost

FEW = 0.05
"""Share of the images that must show a symptom, and two at least: one image near the boundary is no sign."""


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
