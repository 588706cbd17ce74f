"""The attacks by name, for reports, the command line and benchmarks; what you register works wherever ours do.

ATTACKS.register("mine", my_attack)  # my_attack(head, image, label, threat, *, generator, ...) -> AttackResult
ATTACKS.register("ours", Attack(my_climb, classify, targetable=True))  # my_climb(objective, image, threat, *, ...)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from medadv._registry import Registry
from medadv.attacks.auto import apgd, apgd_targeted
from medadv.attacks.decision import hopskipjump
from medadv.attacks.gradient import fgsm, mifgsm, pgd
from medadv.attacks.minimal import ddn
from medadv.attacks.multimodal import PairsResult, co_attack, separate, sga
from medadv.attacks.square import square
from medadv.objective import Objective, classify, expect, logit_margin, margin, targeted
from medadv.threat import Threat
from medadv.types import AttackResult


@dataclass(frozen=True)
class Attack:
    """An attack under a name, called with a head and labels whatever its function takes.

    `Attack(fn, objective)` takes a function (objective, image, threat, *, ...), and what makes its objective of head
    and label; `Attack(fn)` a function (head, image, label, threat, *, generator, ...).
    """

    fn: Callable[..., AttackResult]
    objective: Callable[..., Objective] | None = None
    """Makes the objective of (head, label); None where `fn` takes head and label themselves."""
    options: Collection[str] = ()
    """Names of the arguments that a caller may set; those that `fn` takes by keyword where none are given."""
    targetable: bool = False
    """Whether `fn` climbs any objective, and so one towards a class."""
    by_image: bool = False
    """Whether a report gives each image random numbers of its own, so that no verdict depends on the batch size."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", frozenset(self.options or keywords(self.fn)))
        if self.targetable and self.objective is None:
            raise ValueError(
                "The 'targetable' parameter of Attack must be left out for a function of head and label; got True. "
                "Name the objective that the function climbs."
            )

    def __call__(
        self,
        head: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        threat: Threat | str,
        *,
        generator: torch.Generator | None = None,
        draws: int = 1,
        **options: Any,
    ) -> AttackResult:
        """Attack; with `draws=n` the head is taken as random: loss and success are those of n passes (EOT)."""
        if self.objective is None:
            options |= {"draws": draws} if draws != 1 else {}
            return self.fn(head, image, label, threat, generator=generator, **options)
        objective = self.objective(head, label)
        if draws > 1:
            objective = expect(objective, _same, draws=draws)
        found = self._climb(objective, image, threat, generator, options)
        cost = found.cost._replace(forwards=found.cost.forwards * draws, backwards=found.cost.backwards * draws)
        return replace(found, cost=cost)

    def towards(
        self,
        head: Callable[[Tensor], Tensor],
        image: Tensor,
        target: Tensor,
        threat: Threat | str,
        *,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> AttackResult:
        """Attack until the head names the target (B,)."""
        return self._climb(targeted(head, target), image, threat, generator, options)

    def _climb(self, objective, image, threat, generator, options) -> AttackResult:
        drawn = {"generator": generator} if "generator" in inspect.signature(self.fn).parameters else {}
        return self.fn(objective, image, threat, **drawn, **options)


class _Attacks(Registry[Attack]):
    def register(self, name: str, thing: Attack | Callable[..., AttackResult]) -> Attack:
        """Add an attack, or a function (head, image, label, threat, *, generator, ...)."""
        return super().register(name, thing if isinstance(thing, Attack) else Attack(thing))


@dataclass(frozen=True)
class AttackCall:
    """An attack with those of the options that it takes, as a report calls it for every batch."""

    attack: Attack
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, head, image, label, target, threat, generator, **more) -> AttackResult:
        how = {"generator": generator, **self.options, **more}
        if target is None:
            return self.attack(head, image, label, threat, **how)
        return self.attack.towards(head, image, target, threat, **how)


def attack_calls(
    attacks: Sequence[str] | Mapping[str, Callable[..., AttackResult]],
    *,
    options: dict[str, Any] | None = None,
    towards: bool = False,
    region: bool = False,
) -> dict[str, AttackCall]:
    """Look attacks up by name, and give each of them those of the options that it takes.

    Shapes   none.
    Units    those of the options.
    Returns  dict of name to AttackCall. `attacks` are names of ATTACKS, or functions of your own by name, which draw
             from one generator for each batch.
    Raises   ValueError for a name that is not known, an option that none of them takes, and an attack that cannot aim
             at a class (`towards`) or keep to a region.
    Source   ours.
    """
    if isinstance(attacks, str):
        raise ValueError(f"The 'attacks' parameter must be a list of names; got one str. Write [{attacks!r}].")
    if isinstance(attacks, Mapping):
        own = {name: verb if isinstance(verb, Attack) else Attack(verb) for name, verb in attacks.items()}
        own = {name: replace(attack, by_image=False) for name, attack in own.items()}
    else:
        own = {name: ATTACKS.get(name) for name in attacks}
    wrong = [name for name, attack in own.items() if towards and not attack.targetable]
    if wrong:
        able = [name for name in ATTACKS if ATTACKS.get(name).targetable]
        raise ValueError(f"The attack {wrong[0]!r} aims at no class. With a target use {', '.join(able)}.")
    whole = [name for name, attack in own.items() if region and "region" not in attack.options]
    if whole:
        raise ValueError(
            f"The attack {whole[0]!r} takes no 'region' of pixels that may change. Choose another, or leave it out."
        )
    for option in options or {}:
        if not any(option in attack.options for attack in own.values()):
            able = sorted(name for name in ATTACKS if option in ATTACKS.get(name).options)
            raise ValueError(
                f"None of the attacks {', '.join(own)} takes {option!r}. "
                + (f"It is taken by {', '.join(able)}." if able else "Leave it out.")
            )
    return {
        name: AttackCall(attack, {k: v for k, v in (options or {}).items() if k in attack.options})
        for name, attack in own.items()
    }


def keywords(fn: Callable[..., Any]) -> set[str]:
    """Name the arguments that a function takes by keyword only, the generator left out.

    Shapes   none.
    Units    none.
    Returns  set of str.
    Raises   nothing.
    Source   ours.
    """
    named = {name for name, one in inspect.signature(fn).parameters.items() if one.kind is one.KEYWORD_ONLY}
    return named - {"generator"}


def _same(image: Tensor) -> Tensor:
    return image


ATTACKS = _Attacks("attack")
"""Attacks on images, by name. The suite adds itself."""
for _name, _fn, _objective, _targetable in (
    ("fgsm", fgsm, classify, True),
    ("pgd", pgd, classify, True),
    ("mifgsm", mifgsm, classify, True),
    ("apgd", apgd, classify, True),
    ("apgd-margin", apgd, margin, False),
    ("apgd-targeted", apgd_targeted, None, False),
    ("square", square, logit_margin, True),
    ("ddn", ddn, classify, True),
    ("hopskipjump", hopskipjump, classify, True),
):
    ATTACKS.register(_name, Attack(_fn, _objective, targetable=_targetable, by_image=True))

PAIR_ATTACKS: Registry[Callable[..., PairsResult]] = Registry("attack on pairs")
"""Attacks on images and their texts, by name: (vlm, image, text, threat, *, text_attack, owner, ...)."""
for _pair in (separate, co_attack, sga):
    PAIR_ATTACKS.register(_pair.__name__, _pair)
