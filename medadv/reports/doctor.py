"""Does the evaluation lie? Checks that find models which look robust because the attack cannot see."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv._labels import as_labels
from medadv.attacks._loop import broken_points
from medadv.objective import classify
from medadv.reports import _doctor_checks as c
from medadv.threat import Threat
from medadv.types import Cost

CHECKS = (
    ("non-finite logits", c.not_finite, "Find the layer that overflows; try float32."),
    ("probabilities", c.probabilities, "Attack the logits: leave out the softmax."),
    ("randomised model", c.randomised, "Attack the mean over draws: wrap the objective in expect()."),
    ("not in eval mode", c.other_mode, "Call head.eval() before you report clean accuracy."),
    ("eps 0 is not clean", c.nothing_changes, "Look for state, randomness or a second preprocessing in the model."),
    ("batch dependence", c.neighbours, "Put batch normalisation into eval mode inside the head."),
    (
        "non-finite gradients",
        c.broken_gradient,
        "Find the step whose slope is infinite, such as a root or a norm at 0; attacks take such values as 0.",
    ),
    ("zero gradients", c.no_gradient, "Pass gradients straight through the step that cuts them, or trust Square only."),
    ("saturated logits", c.saturated, "Use the margin (apgd-margin), or divide the logits by a temperature."),
    ("one step beats many", c.one_step, "Gradients are masked: use smaller steps, restarts, and Square."),
    ("black box beats white box", c.black_box, "Gradients are masked: report the worst case with Square."),
    ("transfer beats white box", c.transfer, "Gradients are masked: report the worst case with transferred images."),
    (
        "large eps does not suffice",
        c.unbounded,
        "Gradients are masked: a free attacker always wins; find what stops it.",
    ),
    ("larger eps helps less", c.wider, "Use more steps or a smaller step; success can only grow with eps."),
    ("more steps do not help", c.more_steps, "Use a smaller step, and look at the gradients."),
    ("no better than a constant", c.constant, "Report balanced accuracy and sensitivity of each class."),
    ("few classes", c.few_classes, "The margin here is the plain difference; say so when you compare with AutoAttack."),
)
"""Name, check, remedy; in the order in which they are made."""


def doctor(
    head: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    threat: Threat | str,
    *,
    surrogate: nn.Module | None = None,
    steps: int = 20,
    queries: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> list[Flag]:
    """Look for the ways in which robust accuracy comes out too high.

    Shapes   image (B, 3, H, W) in [0, 1], label (B,) int64; 32 to 64 images are enough.
    Units    at most about 5 * steps + 10 forward and backward passes for each image, and `queries` forwards for each
             that resists; `flag.cost` says what each check took.
    Returns  a list of Flag, one for each check, found or not; a check that could not be made is not found and says so.
    Raises   ValueError if image leaves [0, 1], or a label is not one of the head's.
    Source   the checks of auto-attack (Croce and Hein 2020, arXiv 2003.01690) and Carlini et al. 2019, section 3, arXiv
             1902.06705. Differs: symptoms are counted in images (5 % and at least two), not in means.
    """
    threat = Threat.of(threat)
    threat.check(image)
    label = as_labels(label, len(image), "doctor", head=head).to(image.device)
    # Under inference_mode no gradient could be asked for; and a model that breaks down is reported, not refused.
    with torch.inference_mode(False), broken_points():
        image, label = (one.clone() if one.is_inference() else one.detach() for one in (image, label))
        case = c.Case(head, image, label, threat, surrogate, steps, queries, seed)
        classify(case.head, label)  # labels are checked at the door
        flags: list[Flag] = []
        for name, check, remedy in tqdm(CHECKS, desc="doctor", disable=not progress, leave=False):
            before, began = case.head.cost(), time.perf_counter()
            if flags and flags[0].found:
                found, seen = None, "Not run: the logits are no numbers."
            else:
                found, seen = check(case)
            after = case.head.cost()
            spent = Cost(after[0] - before[0], after[1] - before[1], 0, time.perf_counter() - began)
            flags.append(Flag(name, bool(found), seen, remedy, spent))
    return flags


@dataclass(frozen=True)
class Flag:
    """One check: what it is called, whether it was found, what was seen, and what to do about it."""

    name: str
    found: bool
    evidence: str
    remedy: str
    cost: Cost = Cost()

    def __repr__(self) -> str:
        return f"{'FOUND' if self.found else 'fine '}  {self.name}: {self.evidence}{(' ' + self.remedy) * self.found}"
