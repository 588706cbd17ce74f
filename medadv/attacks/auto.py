"""White-box attacks that set their own step size: auto-PGD, and auto-PGD towards one class after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medadv._labels import logits_of
from medadv._random import fork
from medadv.attacks._loop import ActiveBatch, better_of, broken_points, check_score, steepest_step
from medadv.objective import Objective, logit_margin, targeted_dlr, targeted_dlr_loss
from medadv.threat import Threat
from medadv.types import AttackResult, Cost, Score


def apgd(
    want: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    steps: int = 100,
    rho: float = 0.75,
    restarts: int = 1,
    random_start: bool = True,
    stop: bool = True,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Climb the objective with momentum and a step size that halves itself where the climb stalls.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps in pixel units (4/255 is 0.0157); steps counts backward passes; rho is the share of steps
             that must have risen since the last look.
    Returns  AttackResult as `pgd`: the first point that won, else the one of highest loss.
    Raises   ValueError if image leaves [0, 1] (did you normalise? the VLM does it inside), steps is below 1 or rho
             outside [0, 1].
    Source   Croce and Hein 2020, algorithm 1, arXiv 2003.01690; for L1 Croce and Hein 2021, algorithm 1, arXiv
             2103.01208, whose step looks only at values that the box lets move here. Differs: images that are fooled
             leave the batch, restarts run in one batch, rises are counted as they come instead of kept as a history.
    """
    if steps < 1:
        raise ValueError(f"The 'steps' parameter of apgd must be at least 1; got {steps}.")
    if not 0 <= rho <= 1:
        raise ValueError(f"The 'rho' parameter of apgd must be in [0, 1]; got {rho}. The paper takes 0.75.")
    threat = Threat.of(threat)
    sparse = threat.norm == "l1"
    wait, since = max(int((0.04 if sparse else 0.22) * steps), 1), 0
    with ActiveBatch(want, image, threat, restarts=restarts, stop=stop, generator=generator, region=region) as active:
        x = active.begin(random_start)
        score, gradient = active.gradient(x)
        run = _begin(threat, x, gradient, score.loss)
        for i in range(steps):
            run.narrow(active)
            if not len(active):
                break
            # Algorithm 1, line 7.
            ahead = steepest_step(threat, run.x, active.clean, run.gradient, run.step, share=run.share)
            if i and not sparse:  # line 8, momentum
                ahead = ahead.mul_(0.75).add_(run.x, alpha=0.5).sub_(run.old, alpha=0.25)
                ahead = threat.project(ahead, active.clean)
            run.old, run.x = run.x, ahead
            if i == steps - 1:  # nobody needs the gradient at the last point
                active.score(run.x)
                break
            score, run.gradient = active.gradient(run.x)
            run.note(score.loss)
            since += 1
            if since == wait:
                since = 0
                if sparse:
                    _look_sparse(run, threat, active.clean)
                else:
                    _look(run, rho * wait)
                    wait = max(wait - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
        return active.result()


@torch.inference_mode(False)
def apgd_targeted(
    head: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    threat: Threat | str,
    *,
    targets: int = 9,
    steps: int = 100,
    rho: float = 0.75,
    restarts: int = 1,
    random_start: bool = True,
    stop: bool = True,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Run `apgd` towards the likeliest wrong classes, one after another, on the images that are still right.

    Shapes   head: pixels (B, 3, H, W) to logits (B, K), K at least 2; image (B, 3, H, W) in [0, 1]; label (B,) int64;
             region as in `pgd`.
    Units    threat.eps in pixel units; targets is cut to K - 1; steps are those of each target.
    Returns  AttackResult; won where the label is no longer the largest logit, whichever class is.
    Raises   ValueError as `apgd`, or if targets is below 1.
    Source   Croce and Hein 2020, section 4 and equation 7 (targeted DLR), arXiv 2003.01690; for three and two classes
             the loss is divided by what spread there is, or by nothing.
    """
    if targets < 1:
        raise ValueError(f"The 'targets' parameter of apgd_targeted must be at least 1; got {targets}.")
    began, threat = time.perf_counter(), Threat.of(threat)
    want = logit_margin(head, label)
    with ActiveBatch(want, image, threat, region=region) as active, torch.no_grad():
        image, region = active.image, active.region
        label = active.want.rows[0].to(image.device)
        logits = logits_of(head, active.clean, label)
        others = logits.scatter(1, label[:, None], -torch.inf)
        order = others.argsort(1, descending=True)
        there = others.gather(1, order) > -torch.inf  # a class masked with -inf cannot be a target
        loss = targeted_dlr_loss(logits, label, order[:, 0])
        check_score(Score(loss, logits.argmax(1) != label), active.rows)
    won = (logits.argmax(1) != label) & ~loss.isnan()  # a model that broke down has not been fooled
    cost = Cost(forwards=len(image), seconds=time.perf_counter() - began)
    best = AttackResult(image.detach(), won, loss.nan_to_num(nan=-torch.inf), cost)
    for place in range(min(targets, logits.shape[1] - 1)):
        rows = (there[:, place] & ~best.won if stop else there[:, place]).nonzero().flatten()
        if not len(rows) and place:
            break
        with broken_points():  # a model that breaks down on the way has not been fooled
            found = apgd(
                targeted_dlr(head, label[rows], order[rows, place]), image[rows], threat, steps=steps, rho=rho,
                restarts=restarts, random_start=random_start, stop=stop, generator=fork(generator, len(image), rows),
                region=None if region is None else region[rows],
            )  # fmt: skip
        best = better_of(best, found, rows)
    return best


@dataclass
class _Run:
    """What is known of every live image; each field has one row for each of them."""

    x: Tensor
    old: Tensor
    gradient: Tensor
    peak: Tensor
    """The point of highest loss so far, where a halved step starts anew."""
    peak_gradient: Tensor
    peak_loss: Tensor
    last: Tensor
    checked: Tensor
    """peak_loss at the last look."""
    rises: Tensor
    step: Tensor
    halved: Tensor
    share: Tensor
    """L1 only: the share of pixel values that a step moves."""
    spread: Tensor
    """L1 only: how many values the peak had moved at the last look."""

    def narrow(self, active: ActiveBatch) -> None:
        """Let fooled images go."""
        for name, kept in zip(list(vars(self)), active.drop_successful(*vars(self).values()), strict=True):
            setattr(self, name, kept)

    def note(self, loss: Tensor) -> None:
        """Count a rise, remember a peak."""
        self.rises = self.rises + (loss > self.last)
        self.last = loss
        higher = loss > self.peak_loss
        self.peak_loss = torch.where(higher, loss, self.peak_loss)
        # With weights of 0 and 1 lerp_ chooses, several times faster than where does.
        chosen = higher.view(-1, 1, 1, 1).to(self.x.dtype)
        self.peak.lerp_(self.x, chosen)
        self.peak_gradient.lerp_(self.gradient, chosen)

    def back(self, rows: Tensor) -> None:
        """Start anew from the peak."""
        rows = rows.view(-1, 1, 1, 1)
        self.x = torch.where(rows, self.peak, self.x)
        self.gradient = torch.where(rows, self.peak_gradient, self.gradient)


def _begin(threat: Threat, x: Tensor, gradient: Tensor, loss: Tensor) -> _Run:
    loss = loss.nan_to_num(nan=-torch.inf)  # nothing is higher than what is not a number
    one = torch.ones(len(x), device=x.device, dtype=x.dtype)
    values = x[0, : 1 if threat.grey else 3].numel() if len(x) else 1
    return _Run(
        x, x, gradient, x.clone(), gradient.clone(), loss, loss, loss, torch.zeros_like(one, dtype=torch.int64),
        (one * threat.eps * (1 if threat.norm == "l1" else 2)).view(-1, 1, 1, 1), one.bool(),
        0.2 * one.view(-1, 1), values * one,
    )  # fmt: skip


def _look(run: _Run, enough: float) -> None:
    """Halve the step where too few steps rose (condition 1), or where nothing was gained and nothing changed (2)."""
    stalled = ~run.halved & (run.checked >= run.peak_loss)
    run.halved = (run.rises <= enough) | stalled
    run.step = torch.where(run.halved.view(-1, 1, 1, 1), run.step / 2, run.step)
    run.back(run.halved)
    run.checked, run.rises = run.peak_loss, torch.zeros_like(run.rises)


def _look_sparse(run: _Run, threat: Threat, clean: Tensor) -> None:
    """Move as many values next as the peak needed, and start anew at full step where the peak has become sparser."""
    moved = (run.peak - clean)[:, : 1 if threat.grey else 3].flatten(1)
    spread = (moved != 0).sum(1).to(run.spread.dtype)
    sparser = spread < 0.95 * run.spread
    run.share = (spread / moved.shape[1] / 1.5).view(-1, 1)
    step = torch.where(sparser.view(-1, 1, 1, 1), torch.full_like(run.step, threat.eps), run.step / 1.5)
    run.step = step.clamp(threat.eps / 10, threat.eps)
    run.back(sparser)
    run.spread = spread
