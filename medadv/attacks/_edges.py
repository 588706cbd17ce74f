"""The attacks by name, in one form for the edges of the package: which loss each climbs is chosen here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from medadv._random import Streams, fork
from medadv._registry import Registry
from medadv.attacks.auto import apgd, apgd_targeted
from medadv.attacks.decision import hopskipjump
from medadv.attacks.gradient import fgsm, mifgsm, pgd
from medadv.attacks.minimal import ddn
from medadv.attacks.square import square
from medadv.objective import Objective, classify, expect, logit_margin, margin
from medadv.types import AttackResult

Attack = Callable[..., AttackResult]
"""(head, image, label, threat, *, generator, **options)"""


def climbing(attack: Callable[..., AttackResult], wish: Callable[..., Objective], *, random: bool = True) -> Attack:
    """Give an attack on an objective the form (head, image, label, threat, *, generator, **options).

    With `draws=n` the head is taken as random: loss and success are those of n passes (EOT).
    """

    def run(head, image, label, threat, *, generator: torch.Generator | None = None, draws: int = 1, **options):
        want = wish(head, label)
        if draws > 1:
            want = expect(want, _same, draws=draws)
        if random:
            options["generator"] = generator
        found = attack(want, image, threat, **options)
        cost = found.cost._replace(forwards=found.cost.forwards * draws, backwards=found.cost.backwards * draws)
        return replace(found, cost=cost)

    return run


def _targeted(head, image, label, threat, *, generator: torch.Generator | None = None, **options):
    return apgd_targeted(head, image, label, threat, generator=generator, **options)


def _suite(head, image, label, threat, *, generator: torch.Generator | None = None, **options):
    from medadv.attacks.suite import suite  # which needs the names below

    seed: int | Tensor = 0
    own = fork(generator, len(image))
    if isinstance(own, Streams):
        seed = own.keys
    elif generator is not None:
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    return suite(head, image, label, threat, **{"seed": seed, **options})


def _same(image: Tensor) -> Tensor:
    return image


ATTACKS: Registry[Attack] = Registry("attack")
ATTACKS.register("fgsm", climbing(fgsm, classify, random=False))
ATTACKS.register("pgd", climbing(pgd, classify))
ATTACKS.register("mifgsm", climbing(mifgsm, classify, random=False))
ATTACKS.register("apgd", climbing(apgd, classify))
ATTACKS.register("apgd-margin", climbing(apgd, margin))
ATTACKS.register("apgd-targeted", _targeted)
ATTACKS.register("square", climbing(square, logit_margin))
ATTACKS.register("ddn", climbing(ddn, classify, random=False))
ATTACKS.register("hopskipjump", climbing(hopskipjump, classify))
ATTACKS.register("suite", _suite)
