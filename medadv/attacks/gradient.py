"""White-box attacks that follow the gradient: one step, many steps, many steps with momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from medadv.attacks._loop import ActiveBatch, steepest_step
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import AttackResult


def fgsm(
    want: Objective, image: Tensor, threat: Threat | str, *, region: Tensor | None = None, score: bool = True
) -> AttackResult:
    """Take one step of full size along the gradient.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps in pixel units (4/255 is 0.0157).
    Returns  AttackResult: the clean image where it won already, else the better of clean and moved. With score=False
             the moved point is returned without the second forward pass, for training and transfer: its `loss` is
             nan and its `won` is False, because nobody has asked the model about it.
    Raises   ValueError as `pgd`.
    Source   Goodfellow et al. 2015, arXiv 1412.6572. Differs: for L2 the steepest step of that norm, for L1 the
             strongest hundredth of the pixel values together.
    """
    threat = Threat.of(threat)
    return pgd(want, image, threat, steps=1, step=threat.eps, random_start=False, region=region, score=score)


def pgd(
    want: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    steps: int = 20,
    step: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    momentum: float | None = None,
    stop: bool = True,
    region: Tensor | None = None,
    score: bool = True,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Climb the objective by projected gradient steps.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps and step in pixel units (4/255 is 0.0157); steps counts backward passes.
    Returns  for each image the first point that won, else the one of highest loss; `cost` says what it took. With
             stop=False every image takes all steps: for training, transfer, and whenever the loss itself matters.
             With score=False the last point of an image that has not won is returned without a forward pass at it:
             `loss` is nan there and `won` is False.
    Raises   ValueError if image leaves [0, 1] (did you normalise? the VLM does it inside), steps is below 1, the model
             returns NaN at the first point, or no gradient reaches the pixels.
    Source   Madry et al. 2018, eq. 2.1, arXiv 1706.06083. Differs: images that are fooled leave the batch, all restarts
             run in one batch, the last point is scored too. The default step is 5 eps / steps, at most eps,
             twice that of Madry et al.; `benchmarks/attacks.py --attacks pgd-defaults` compares it with the defaults
             of other libraries.
    """
    threat = Threat.of(threat)
    step = _step(steps, step, min(5 / max(steps, 1), 1) * threat.eps)
    with ActiveBatch(want, image, threat, restarts=restarts, stop=stop, generator=generator, region=region) as active:
        x = active.begin(random_start)
        past = torch.zeros_like(x) if momentum is not None else x[:0]
        for _ in range(steps):
            gradient = active.gradient(x)[1]
            if momentum is None:
                x, gradient = active.drop_successful(x, gradient)
            else:  # each gradient counts the same, however large: it is divided by its mean size first
                past = momentum * past + gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-30)
                x, past = active.drop_successful(x, past)
                gradient = past
            if not len(active):
                break
            x = steepest_step(threat, x, active.clean, gradient, step)
        if len(active):
            active.score(x) if score else active.accept(x)
        return active.result()


def mifgsm(
    want: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    steps: int = 10,
    step: float | None = None,
    momentum: float = 1.0,
    stop: bool = True,
    region: Tensor | None = None,
) -> AttackResult:
    """Climb with a memory of past gradients, which crosses to other models more easily.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps and step in pixel units; momentum is the share of the past that is kept.
    Returns  AttackResult as `pgd`; use stop=False for transfer.
    Raises   ValueError as `pgd`.
    Source   Dong et al. 2018, algorithm 1, arXiv 1710.06081: start at the clean image, step eps / steps.
    """
    threat = Threat.of(threat)
    step = _step(steps, step, threat.eps / max(steps, 1))
    return pgd(
        want, image, threat, steps=steps, step=step, random_start=False, momentum=momentum, stop=stop, region=region
    )


def _step(steps: int, step: float | None, default: float) -> float:
    if steps < 1:
        raise ValueError(f"The 'steps' parameter of an attack must be at least 1; got {steps}.")
    if step is not None and not step >= 0:
        raise ValueError(f"The 'step' parameter of an attack must be at least 0 pixel units; got {step}.")
    return default if step is None else step
