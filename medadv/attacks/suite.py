"""The worst of several attacks: cheapest first, each on what the ones before have left; an interrupted run goes on."""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medadv._labels import as_labels
from medadv._quiet import modules_of, quiet
from medadv._random import Streams, fork
from medadv.attacks._loop import NO_GRADIENT, broken_points, plus, refuse_nan, region_of
from medadv.attacks._suite_file import State, SuiteFile
from medadv.attacks.registry import ATTACKS, Attack, keywords
from medadv.objective import Objective, expect, logit_margin, margin
from medadv.threat import Threat
from medadv.types import AttackResult, Cost

HELD, CLEAN = -2, -1  # codes beside the number of the attack: broken by none, wrong without any
DRAWS = 20
QUERIES = 5000
FEW = 16  # images whose gradients are looked at where no attack goes without them

Verb = Callable[..., AttackResult]
"""(head, image, label, threat, *, generator, ...)"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class SuiteResult(AttackResult):
    """What a suite found; `loss` is the margin at `image`, so that rows compare whatever broke them."""

    by: list[str] = field(default_factory=list)
    """For each image the attack that broke it, "clean" where it was wrong before, "" where nothing broke it."""
    warning: str = ""
    """What may make these numbers too high: gradients that are zero, or that do not reach the pixels."""

    def __repr__(self) -> str:
        told = ", ".join(f"{name or 'held'} {many}" for name, many in self.counts().items())
        about = f"{told}; {self.cost.forwards}+{self.cost.backwards} passes, {self.cost.seconds:.1f} s"
        return f"SuiteResult({about})" + (f" Warning: {self.warning}" if self.warning else "")

    def counts(self) -> dict[str, int]:
        """How many images each one broke, most first; "" holds the robust ones."""
        return dict(Counter(self.by).most_common())


def suite(
    head: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    threat: Threat | str,
    *,
    attacks: str | Sequence[str] | Mapping[str, Verb] = "standard",
    batch_size: int = 128,
    seed: int | Tensor = 0,
    region: Tensor | None = None,
    file: str | Path | None = None,
    progress: bool = False,
) -> SuiteResult:
    """Attack with one attack after another, each on the images that are still right.

    "standard" is our AutoAttack: apgd on the cross-entropy, apgd towards up to nine classes, and five thousand queries
    of square (not for L1). "rand" is for heads that answer at random: apgd on both losses, in the mean of 20 passes.
    Or name attacks of ATTACKS, or give your own by name, each a function (head, image, label, threat, *, generator);
    with a region also `region`. An attack that needs a gradient is left out where none reaches the pixels.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K); image (N, 3, H, W) in [0, 1]; label (N,) int64; region (H, W),
             (1, 1, H, W) or (N, 1, H, W), bool or 0 and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps in pixel units; seed, or one seed for each image (N,), decides the draws of every attack. Each
             image draws from a stream of its own, so its verdict depends neither on the other images nor on
             batch_size (but attacks of your own draw from one generator for each batch).
    Returns  SuiteResult; a find counts only if one more pass over all classes confirms it. `warning` says where the
             attacks were blind: ask medadv.reports.doctor then.
    Raises   ValueError if image leaves [0, 1], the model returns NaN for a clean image, an attack is not known, or
             `file` holds a run with other images, labels, settings, functions or another head. A run that was
             interrupted goes on from `file` to the same answer; a head or function of your own that holds what cannot
             be read needs a text `fingerprint` for it.
    Source   Croce and Hein 2020, section 5, arXiv 2003.01690. Differs: no FAB, which seldom finds what targeted apgd
             does not.
    """
    threat = Threat.of(threat)
    threat.check(image)
    label = as_labels(label, len(image), "suite", head=head)
    with torch.inference_mode(False):  # what was made there can take part in no gradient; copies made here can
        image, label = (one.clone() if one.is_inference() else one for one in (image, label))
        plan, random = _plan(attacks, threat), attacks == "rand"
        mask = region_of(region, image)
        if mask is not None:
            _check_regions(plan)
        state, cost = _begin(head, image, label, batch_size, random)
        settings: tuple[Any, ...] = (str(threat), batch_size, seed.tolist() if isinstance(seed, Tensor) else seed)
        settings += () if mask is None else (_mark(mask),)
        saved = SuiteFile(file, head, plan, image, label, settings, compare=not random)
        found = saved.load(state)
        place = (0, 0)
        if found is not None:
            state, place, cost = found
        blind: list[str] = []
        for number, (name, attack) in enumerate(plan.items()):
            if number < place[0]:
                continue
            # Those that this very attack broke were there when it began: a run that goes on must see the same batches.
            rows = ((state["by"] == HELD) | (state["by"] == number)).nonzero().flatten().split(batch_size)
            first = place[1] if number == place[0] else 0
            for batch in _bar(range(first, len(rows) if len(rows[0]) else 0), name, progress):
                how: dict[str, Any] = {"generator": _streams(seed, number, rows[batch], _device(head, image))}
                if mask is not None:
                    how["region"] = mask[rows[batch]] if len(mask) > 1 else mask
                spent = _run(attack, head, image, label, threat, rows[batch], state, number, random, how)
                if spent is None:
                    blind.append(name)
                    break
                cost = plus(cost, spent)
                saved.save(state, (number, batch + 1), cost)
        warning, spent = _warning(blind, head, image, label, state, random)
        cost = plus(cost, spent)
        saved.save(state, (len(plan), 0), cost, last=True)
    if warning:
        _log.warning(warning)
    names = [*plan, "", "clean"]  # HELD and CLEAN count from the end
    by = [names[code] for code in state["by"].tolist()]
    return SuiteResult(state["image"], state["by"] != HELD, state["loss"], cost, None, by, warning)


def _plan(attacks: str | Sequence[str] | Mapping[str, Verb], threat: Threat) -> dict[str, Verb]:
    if isinstance(attacks, Mapping):
        return dict(attacks)
    if attacks == "standard":
        plan: dict[str, Verb] = {"apgd": ATTACKS.get("apgd"), "apgd-targeted": ATTACKS.get("apgd-targeted")}
        return plan if threat.norm == "l1" else {**plan, "square": partial(ATTACKS.get("square"), queries=QUERIES)}
    if attacks == "rand":
        return {name: partial(ATTACKS.get(name), draws=DRAWS) for name in ("apgd", "apgd-margin")}
    names = [attacks] if isinstance(attacks, str) else list(attacks)
    if "suite" in names or not names:
        raise ValueError("The 'attacks' parameter of suite must name other attacks; got none, or suite itself.")
    return {name: ATTACKS.get(name) for name in names}


def _check_regions(plan: dict[str, Verb]) -> None:
    for name, attack in plan.items():
        own = attack.func if isinstance(attack, partial) else attack
        takes = inspect.signature(own.fn if isinstance(own, Attack) else attack).parameters
        known = isinstance(own, Attack) and "region" in own.options
        if not (known or "region" in takes or any(one.kind is one.VAR_KEYWORD for one in takes.values())):
            raise ValueError(
                f"The 'attacks' parameter of suite must hold attacks that take a region; got {name!r}, which does not. "
                "Give it a keyword argument region."
            )


def _mark(mask: Tensor) -> str:
    return hashlib.sha256(mask.cpu().contiguous().numpy().tobytes()).hexdigest()


def _streams(seed: int | Tensor, number: int, rows: Tensor, device: torch.device) -> Streams:
    """The random numbers of one attack: one stream for each image, whatever its batch."""
    if isinstance(seed, Tensor):
        return Streams.of(seed[rows.to(seed.device)].to(device), number)
    return Streams.of(rows.to(device), seed, number)


def _warning(blind: list[str], head, image: Tensor, label: Tensor, state: State, random: bool) -> tuple[str, Cost]:
    """What may make the result too high; in the random plan no attack goes without a gradient, so it is looked at."""
    if blind:
        told = f"No gradient reaches the pixels, so {', '.join(blind)} did not run."
        return f"{told} What held may not be robust: ask medadv.reports.doctor what stops the gradient.", Cost()
    rows = (state["clean"] < 0).nonzero().flatten()[:FEW] if random else torch.zeros(0, dtype=torch.int64)
    if not len(rows):
        return "", Cost()
    began, device = time.perf_counter(), _device(head, image)
    want = expect(logit_margin(head, label[rows.to(label.device)].to(device)), _same, draws=DRAWS)
    with torch.enable_grad(), quiet(*want.models):
        x = image[rows].to(device).detach().requires_grad_()
        (slope,) = torch.autograd.grad(want(x).loss.sum(), x)
    flat = int((slope.flatten(1).abs().amax(1) == 0).sum())
    passes = len(rows) * DRAWS
    cost = Cost(passes, passes, 0, time.perf_counter() - began)
    if 2 * flat < len(rows):
        return "", cost
    return (
        f"The gradient is zero for {flat} of {len(rows)} images, and every attack of the plan follows it. What held "
        "may not be robust: ask medadv.reports.doctor what stops the gradient, and add square to the attacks."
    ), cost


def _judge(head: Callable[[Tensor], Tensor], label: Tensor, random: bool) -> Objective:
    want = margin(head, label)
    return expect(want, _same, draws=DRAWS) if random else want


def _same(image: Tensor) -> Tensor:
    return image


@torch.no_grad()
def _confirm(want: Objective, image: Tensor, *, clean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Margin and success; `clean` are the rows of images that nobody has changed, where NaN is refused."""
    with quiet(*want.models):
        score = want(image)
    if clean is not None:
        refuse_nan(score.loss, clean)
    return score.loss.nan_to_num(nan=-torch.inf), score.won & ~score.loss.isnan()


def _begin(head, image: Tensor, label: Tensor, batch_size: int, random: bool) -> tuple[State, Cost]:
    """The state before any attack: clean images, those that are wrong already marked."""
    began, device = time.perf_counter(), _device(head, image)
    loss = torch.zeros(len(image), dtype=torch.float32)
    won = torch.zeros(len(image), dtype=torch.bool)
    for rows in torch.arange(len(image)).split(batch_size) if len(image) else ():
        want = _judge(head, label[rows.to(label.device)].to(device), random)
        part = _confirm(want, image[rows.to(image.device)].to(device), clean=rows)
        loss[rows], won[rows] = part[0].cpu(), part[1].cpu()
    by = torch.where(won, CLEAN, HELD).to(torch.int64)
    state = {"image": image.detach().clone(), "loss": loss, "by": by, "clean": loss.clone()}
    state = {name: held.to(image.device) for name, held in state.items()}
    return state, Cost(len(image) * (DRAWS if random else 1), seconds=time.perf_counter() - began)


def _run(
    attack: Verb, head, image: Tensor, label: Tensor, threat: Threat, rows: Tensor, state: State, number: int,
    random: bool, how: dict[str, Any],
) -> Cost | None:  # fmt: skip
    """Attack one batch and write what it found into the state; return its cost, or None where it has no gradient."""
    began, device = time.perf_counter(), _device(head, image)
    pixels, truth = image[rows].to(device), label[rows.to(label.device)].to(device)
    try:
        with broken_points():  # the clean images were looked at; a model that breaks down elsewhere is not fooled
            found = attack(head, pixels, truth, threat, **how)
    except ValueError as error:
        if str(error) != NO_GRADIENT:
            raise
        return None
    moved = torch.where(how["region"], found.image, pixels) if "region" in how else found.image
    loss, won = (one.to(image.device) for one in _confirm(_judge(head, truth, random), moved))
    better = won | (loss > state["loss"][rows])
    state["image"][rows[better]] = moved.to(image.device)[better]
    state["loss"][rows[better]] = loss[better]
    state["by"][rows[won]] = number
    confirming = len(rows) * (DRAWS if random else 1)
    return found.cost._replace(forwards=found.cost.forwards + confirming, seconds=time.perf_counter() - began)


def _device(head, image: Tensor) -> torch.device:
    """Where the head is: images may wait in the host's memory and go over batch by batch."""
    weights = next((one for module in modules_of(head).modules for one in module.parameters()), None)
    return image.device if weights is None else weights.device


def _bar(batches: Iterable[int], name: str, progress: bool) -> Iterable[int]:
    from tqdm.auto import tqdm

    return tqdm(batches, desc=name, disable=not progress, leave=False)


def _seeded(head, image, label, threat, *, generator: torch.Generator | None = None, **options) -> SuiteResult:
    """Run the suite with a seed, or one for each image, that is drawn from a generator."""
    seed: int | Tensor = 0
    own = fork(generator, len(image))
    if isinstance(own, Streams):
        seed = own.keys
    elif generator is not None:
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    return suite(head, image, label, threat, **{"seed": seed, **options})


ATTACKS.register("suite", Attack(_seeded, options=keywords(suite), by_image=True))
