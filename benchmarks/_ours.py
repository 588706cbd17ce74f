"""Our attacks in the form the other libraries are called in, and what a step of ours costs beside the model alone."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from _measure import timed
from _subjects import correct_images, subject
from torch import Tensor, nn
from torch.nn import functional as F

from medadv.attacks import ATTACKS, pgd
from medadv.objective import classify
from medadv.threat import Threat

# Where the other libraries call an attack by another name than our registry: name here to name there.
_OTHERWISE = {"pgd-defaults": "pgd", "apgd-ce": "apgd", "apgd-dlr": "apgd-margin", "standard": "suite"}
_COMPARED = ("fgsm", "mifgsm", "pgd", "pgd-defaults", "apgd-ce", "apgd-dlr", "square", "standard")


def _runner(attack: str) -> Callable[..., Tensor]:
    ours = ATTACKS.get(_OTHERWISE.get(attack, attack))
    count = next((option for option in ("steps", "queries") if option in ours.options), None)

    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        options: dict[str, Any] = {count: steps} if count else {}
        if attack == "pgd":
            options["step"] = eps / 4
        if attack == "fgsm":  # the others return the moved point without asking what the model says of it
            options["score"] = False
        noise = torch.Generator(image.device).manual_seed(seed)  # for pgd the same start as the others
        return ours(model, image, label, Threat("linf", eps), generator=noise, **options).image

    return run


OURS = {attack: _runner(attack) for attack in _COMPARED}


def overhead(*, batch: int, device: str, repeats: int, steps: int = 20) -> dict:
    """Time PGD with nobody leaving beside as many bare passes of the same model: what the loop itself costs.

    Bare means: forward, summed cross-entropy, gradient to the pixels, nothing else; and one last forward pass, which
    PGD spends to score its last point. The pixels lie in memory as PGD lays them, channels last, for both.
    """
    head, threat = subject("plain", device=device, progress=False)
    image, label = correct_images(head, many=batch)
    laid = image.contiguous(memory_format=torch.channels_last) if image.device.type == "cpu" else image

    def bare() -> None:
        for _ in range(steps):
            x = laid.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(head(x), label, reduction="sum"), x)
        with torch.no_grad():
            head(laid)

    def attack() -> None:
        pgd(classify(head, label), image, threat, steps=steps, stop=False, random_start=False)

    bare(), attack()
    ratios = []
    for turn in range(repeats):
        first, second = (bare, attack) if turn % 2 else (attack, bare)
        times = {run: timed(run, image.device)[1] for run in (first, second)}
        ratios.append(times[attack] / times[bare])
    return {"batch": batch, "steps": steps, "ratio": [round(v, 3) for v in (median(ratios), min(ratios), max(ratios))]}
