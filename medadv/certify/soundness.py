"""Does a certificate hold for the system in use? Attack inside the claimed radius, and let the system vote anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from medadv._images import noisy_pixels
from medadv._quiet import quiet
from medadv.certify.noise_stream import Noise
from medadv.certify.records import Certificate
from medadv.certify.smooth import Job, predict


def strike(
    head: Any,
    images: Any,
    certificates: Sequence[Certificate],
    *,
    share: float = 0.95,
    steps: int = 10,
    draws: int = 32,
    votes: int = 1000,
    level: float = 0.01,
    seed: int = 1,
    batch_size: int = 128,
    progress: bool = True,
) -> list[Strike]:
    """Look for a point inside each certified ball where the system answers with another class.

    Shapes   head as for `certify`; images as they were certified; one Strike for each certificate that says a class.
    Units    share of the claimed radius that may be used; steps of draws noisy copies; level of the vote test.
    Returns  what was found. A sound certificate is broken with chance alpha at most, and then by `level` once more; a
             head that tunes itself does so on the attacked image, with noise of its own, as it would in use.
    Raises   ValueError if seed is one that certified (its noise would not be fresh), or share is not in (0, 1].
    Source   SmoothAdv, Salman et al. 2019, arXiv 1906.04584, eq. S (log of the mean softmax; gradient through the mean
             over noise, EOT). Differs: projected into [0, 1] too, as an attacker has to send an image.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The 'share' parameter of strike must be in (0, 1]; got {share}. 0.95 stays inside.")
    if any(one.seed == seed for one in certificates):
        raise ValueError(f"The 'seed' parameter of strike must differ from the certificates' {seed}. Take another.")
    found = []
    for one in tqdm([c for c in certificates if not c.abstained], desc="striking", disable=not progress):
        image = images[one.index] if isinstance(images, Tensor) else images.load(one.index)[0]
        job = Job(one.sigma, seed, batch_size)
        moved = _attack(head, image, one, job, reach=share * one.radius, steps=steps, draws=draws)
        options: dict[str, Any] = {"sigma": one.sigma, "n": votes, "alpha": level, "progress": False}
        predicted = int(predict(head, moved[None], ids=[one.index], seed=seed, batch_size=batch_size, **options))
        distance = float((moved - image.to(moved)).norm())
        found.append(Strike(one, moved.cpu(), distance, predicted, predicted not in (-1, one.predicted)))
    return found


def _attack(head: Any, image: Tensor, one: Certificate, job: Job, *, reach: float, steps: int, draws: int) -> Tensor:
    """L2 steps against the vote of the system as it is at each point; what tuning itself does to the gradient is left
    out, which makes the attack weaker, never the finding wrong."""
    clean, _ = job.ready({"head": head}, image, one.index)
    noise: Noise = job.noise(one.index, "audit", clean)
    moved = clean.clone()
    for k in range(steps):
        _, voters = job.ready({"head": head}, moved, one.index)
        voter = voters["head"].single()
        point = moved.clone().requires_grad_(True)
        with torch.enable_grad(), quiet(voter), noisy_pixels():
            logits = voter(point + noise.draws(k * draws, (k + 1) * draws))
            loss = -(logits.log_softmax(1)[:, one.predicted].logsumexp(0))
            (grad,) = torch.autograd.grad(loss, point)
        moved = moved + 2.5 * reach / steps * grad / grad.norm().clamp_min(1e-20)
        moved = moved.clamp(0, 1)
        moved = clean + (moved - clean) * min(1.0, reach / max(float((moved - clean).norm()), 1e-20))
    return moved.clamp(0, 1)


@dataclass(frozen=True)
class Strike:
    """An attack inside one certificate's radius."""

    certificate: Certificate
    image: Tensor
    """(C, H, W), the point that was tried."""
    distance: float
    predicted: int
    """What the system says there, -1 where it abstains."""
    broken: bool
    """Whether it is another class than the certified one, at the level asked."""
