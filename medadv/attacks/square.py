"""A black-box attack that asks for scores only: squares of colour at random places, kept where they help."""

from __future__ import annotations

import torch
from torch import Tensor

from medadv.attacks._front import Front
from medadv.attacks._windows import blocks, propose_l2, propose_linf, stripes
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import AttackResult

# After which of 10,000 queries the share of an image that a window covers is halved once more.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square(
    want: Objective,
    image: Tensor,
    threat: Threat | str,
    *,
    queries: int = 5000,
    p: float = 0.8,
    stop: bool = True,
    region: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Search at random: recolour a square window of each image, and keep what raised the loss.

    Shapes   image (B, 3, H, W) in [0, 1]; result.image the same; region (H, W), (1, 1, H, W) or (B, 1, H, W), bool or 0
             and 1: the pixels that may change, all of them where it is None.
    Units    threat.eps in pixel units; queries counts forward passes of an image; p is the share of the image that
             the first windows cover.
    Returns  AttackResult; no gradient is asked for, cost.forwards holds the queries spent.
    Raises   ValueError if image leaves [0, 1] (did you normalise? the VLM does it inside), the threat is L1, queries
             is below 1 or p outside (0, 1].
    Source   Andriushchenko et al. 2020, algorithms 1 to 3, arXiv 1912.00049. Differs: the first query is the clean
             image, every image has a window of its own, and in L-inf a window that would change nothing is drawn
             anew before a query is spent on it. The schedule of p is stretched to the number of queries.
    """
    threat = Threat.of(threat)
    if threat.norm == "l1":
        raise ValueError("The 'threat' parameter of square must be linf or l2; got l1. Use apgd for L1.")
    if queries < 1:
        raise ValueError(f"The 'queries' parameter of square must be at least 1; got {queries}.")
    if not 0 < p <= 1:
        raise ValueError(f"The 'p' parameter of square must be in (0, 1]; got {p}. The paper takes 0.8 and 0.05.")
    propose = propose_linf if threat.norm == "linf" else propose_l2
    with Front(want, image, threat, stop=stop, generator=generator, region=region) as front:
        x, loss = front.leave(front.clean, front.score(front.clean).loss)
        for query in range(1, queries if threat.eps > 0 else 1):
            if not len(front):
                break
            if query == 1:
                begin = stripes if threat.norm == "linf" else blocks
                x = begin(front.clean, threat, front.generator, front.region)
                loss = front.score(x).loss
            else:
                # The clean image and the stripes asked the first two: the schedule starts with the first window.
                share = _share(p, query - 2, queries)
                asked = propose(x, front.clean, threat, share, front.generator, front.region)
                score = front.score(asked)
                better = score.loss > loss
                x = torch.where(better.view(-1, 1, 1, 1), asked, x)
                loss = torch.where(better, score.loss, loss)
            x, loss = front.leave(x, loss)
        return front.result()


def _share(p: float, query: int, queries: int) -> float:
    place = query * 10_000 // queries
    return p / 2 ** sum(place > limit for limit in HALVINGS)
