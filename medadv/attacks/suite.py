"""The worst of several attacks: cheapest first, each on what the ones before have left; an interrupted run goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medadv._labels import as_labels
from medadv._quiet import quiet
from medadv.attacks._edges import ATTACKS, Attack
from medadv.attacks._front import plus
from medadv.attacks._suite_file import State, SuiteFile
from medadv.objective import Objective, expect, margin
from medadv.threat import Threat
from medadv.types import AttackResult, Cost

HELD, CLEAN = -2, -1  # codes beside the number of the attack: broken by none, wrong without any
DRAWS = 20
QUERIES = {"square": 1000, "square-long": 5000}


@dataclass(frozen=True, repr=False)
class SuiteResult(AttackResult):
    """What a suite found; `loss` is the margin at `image`, so that rows compare whatever broke them."""

    by: list[str] = field(default_factory=list)
    """For each image the attack that broke it, "clean" where it was wrong before, "" where nothing broke it."""

    def __repr__(self) -> str:
        told = ", ".join(f"{name or 'held'} {many}" for name, many in self.counts().items())
        return f"SuiteResult({told}; {self.cost.forwards}+{self.cost.backwards} passes, {self.cost.seconds:.1f} s)"

    def counts(self) -> dict[str, int]:
        """How many images each one broke, most first; "" holds the robust ones."""
        return dict(Counter(self.by).most_common())


def suite(
    head: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    threat: Threat,
    *,
    attacks: str | Sequence[str] | Mapping[str, Attack] = "standard",
    batch_size: int = 128,
    seed: int = 0,
    file: str | Path | None = None,
    progress: bool = False,
) -> SuiteResult:
    """Attack with one attack after another, each on the images that are still right.

    "standard" is our AutoAttack: apgd on the cross-entropy, apgd towards up to nine classes, and a thousand queries
    of square (not for L1); where square breaks what the gradients could not, which tells of a masked gradient, five
    thousand more follow. "rand" is for heads that answer at random: apgd on both losses, in the mean of 20 passes.
    Or name attacks of ATTACKS, or give your own by name, each a function (head, image, label, threat, *, generator).

    Shapes   head: pixels (B, 3, H, W) to logits (B, K); image (N, 3, H, W) in [0, 1]; label (N,) int64.
    Units    threat.eps in pixel units; seed decides the draws of every attack and batch, whatever ran before.
    Returns  SuiteResult; a find counts only if one more pass over all classes confirms it.
    Raises   ValueError if image leaves [0, 1], an attack is not known, or `file` holds a run with other images,
             labels, settings or another head. A run that was interrupted goes on from `file` to the same answer.
    Source   Croce and Hein 2020, section 5, arXiv 2003.01690. Differs: no FAB, which seldom finds what targeted apgd
             does not; fewer queries, as told above.
    """
    threat.check(image)
    label = as_labels(label, len(image), "suite", head=head)
    plan, random = _plan(attacks, threat), attacks == "rand"
    state, cost = _begin(head, image, label, batch_size, random)
    told = [f"{name} {_told(attack)}" for name, attack in plan.items()]
    saved = SuiteFile(file, image, label, (str(threat), told, batch_size, seed), compare=not random)
    found = saved.load(state)
    place = (0, 0)
    if found is not None:
        state, place, cost = found
    for number, (name, attack) in enumerate(plan.items()):
        if number < place[0] or (name == "square-long" and not (state["by"] == number - 1).any()):
            continue
        # Those that this very attack broke were there when it began: a run that goes on must see the same batches.
        rows = ((state["by"] == HELD) | (state["by"] == number)).nonzero().flatten().split(batch_size)
        first = place[1] if number == place[0] else 0
        for batch in _bar(range(first, len(rows) if len(rows[0]) else 0), name, progress):
            cost = _run(attack, head, image, label, threat, rows[batch], state, cost, (seed, number, batch), random)
            saved.save(state, (number, batch + 1), cost)
    saved.save(state, (len(plan), 0), cost, last=True)
    names = [*plan, "", "clean"]  # HELD and CLEAN count from the end
    by = [names[code] for code in state["by"].tolist()]
    return SuiteResult(state["image"], state["by"] != HELD, state["loss"], cost, None, by)


def _plan(attacks: str | Sequence[str] | Mapping[str, Attack], threat: Threat) -> dict[str, Attack]:
    if isinstance(attacks, Mapping):
        return dict(attacks)
    if attacks == "standard":
        plan = {"apgd": ATTACKS.get("apgd"), "apgd-targeted": ATTACKS.get("apgd-targeted")}
        for name, queries in QUERIES.items() if threat.norm != "l1" else ():
            plan[name] = partial(ATTACKS.get("square"), queries=queries)
        return plan
    if attacks == "rand":
        return {name: partial(ATTACKS.get(name), draws=DRAWS) for name in ("apgd", "apgd-margin")}
    names = [attacks] if isinstance(attacks, str) else list(attacks)
    if "suite" in names or not names:
        raise ValueError("The 'attacks' parameter of suite must name other attacks; got none, or suite itself.")
    return {name: ATTACKS.get(name) for name in names}


def _told(attack: Attack) -> str:
    """The settings of an attack as far as they can be told; a function of one's own is known by its name."""
    return repr(sorted(attack.keywords.items())) if isinstance(attack, partial) else ""


def _judge(head: Callable[[Tensor], Tensor], label: Tensor, random: bool) -> Objective:
    want = margin(head, label)
    return expect(want, _same, draws=DRAWS) if random else want


def _same(image: Tensor) -> Tensor:
    return image


@torch.no_grad()
def _confirm(want: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    with quiet(*want.models):
        score = want(image)
    return score.loss.nan_to_num(nan=-torch.inf), score.won & ~score.loss.isnan()


def _begin(head, image: Tensor, label: Tensor, batch_size: int, random: bool) -> tuple[State, Cost]:
    """The state before any attack: clean images, those that are wrong already marked."""
    began, device = time.perf_counter(), _device(head, image)
    loss, won = torch.zeros(len(image)), torch.zeros(len(image), dtype=torch.bool)
    for rows in torch.arange(len(image)).split(batch_size) if len(image) else ():
        want = _judge(head, label[rows.to(label.device)].to(device), random)
        part = _confirm(want, image[rows.to(image.device)].to(device))
        loss[rows], won[rows] = part[0].cpu(), part[1].cpu()
    by = torch.where(won, CLEAN, HELD).to(torch.int64)
    state = {"image": image.detach().clone(), "loss": loss, "by": by, "clean": loss.clone()}
    state = {name: held.to(image.device) for name, held in state.items()}
    return state, Cost(len(image) * (DRAWS if random else 1), seconds=time.perf_counter() - began)


def _run(
    attack: Attack, head, image: Tensor, label: Tensor, threat: Threat, rows: Tensor, state: State, cost: Cost,
    seed: tuple[int, int, int], random: bool,
) -> Cost:  # fmt: skip
    """Attack one batch and write what it found into the state; return the cost so far."""
    began, device = time.perf_counter(), _device(head, image)
    pixels, truth = image[rows].to(device), label[rows.to(label.device)].to(device)
    number = int(np.random.default_rng(seed).integers(2**62))
    found = attack(head, pixels, truth, threat, generator=torch.Generator(device).manual_seed(number))
    loss, won = (one.to(image.device) for one in _confirm(_judge(head, truth, random), found.image))
    better = won | (loss > state["loss"][rows])
    state["image"][rows[better]] = found.image.to(image.device)[better]
    state["loss"][rows[better]] = loss[better]
    state["by"][rows[won]] = seed[1]
    confirming = len(rows) * (DRAWS if random else 1)
    return plus(
        cost, found.cost._replace(forwards=found.cost.forwards + confirming, seconds=time.perf_counter() - began)
    )


def _device(head, image: Tensor) -> torch.device:
    """Where the head is: images may wait in the host's memory and go over batch by batch."""
    weights = next(head.parameters(), None) if isinstance(head, nn.Module) else None
    return image.device if weights is None else weights.device


def _bar(batches: Iterable[int], name: str, progress: bool) -> Iterable[int]:
    from tqdm.auto import tqdm

    return tqdm(batches, desc=name, disable=not progress, leave=False)
