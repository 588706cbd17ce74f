"""Attacks by their names, with the options that each of them takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from medadv.attacks import ATTACKS, apgd, apgd_targeted, ddn, fgsm, hopskipjump, mifgsm, pgd, square, suite
from medadv.objective import targeted
from medadv.types import AttackResult

Call = Callable[..., AttackResult]
"""(head, image, label, target or None, threat, generator, **more)"""
TARGETED: dict[str, Callable[..., AttackResult]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mifgsm": mifgsm,
    "apgd": apgd,
    "square": square,
    "ddn": ddn,
    "hopskipjump": hopskipjump,
}
"""Attacks that climb any objective, and so one towards a class."""
_VERBS: dict[str, Callable[..., AttackResult]] = {
    **TARGETED,
    "apgd-margin": apgd,
    "apgd-targeted": apgd_targeted,
    "suite": suite,
}
"""The functions behind the names, whose arguments are the options."""


def attack_calls(
    attacks: Sequence[str] | Mapping[str, Callable[..., AttackResult]],
    *,
    options: dict[str, Any] | None = None,
    towards: bool = False,
    region: bool = False,
) -> dict[str, Call]:
    """Look attacks up by name, and give each of them those of the options that it takes."""
    if isinstance(attacks, str):
        raise ValueError(f"The 'attacks' parameter must be a list of names; got one str. Write [{attacks!r}].")
    own: dict[str, Callable[..., AttackResult]] = (
        dict(attacks) if isinstance(attacks, Mapping) else {name: ATTACKS.get(name) for name in attacks}
    )
    wrong = [name for name in own if towards and name not in TARGETED]
    if wrong:
        raise ValueError(f"The attack {wrong[0]!r} aims at no class. With a target use {', '.join(TARGETED)}.")
    known = {
        name: _takes(verb if isinstance(attacks, Mapping) else _VERBS.get(name, verb)) for name, verb in own.items()
    }
    whole = [name for name, takes in known.items() if region and "region" not in takes]
    if whole:
        raise ValueError(
            f"The attack {whole[0]!r} takes no 'region' of pixels that may change. Choose another, or leave it out."
        )
    for option in options or {}:
        if not any(option in takes for takes in known.values()):
            able = sorted(name for name in ATTACKS if option in _takes(_VERBS.get(name, ATTACKS.get(name))))
            raise ValueError(
                f"None of the attacks {', '.join(own)} takes {option!r}. "
                + (f"It is taken by {', '.join(able)}." if able else "Leave it out.")
            )
    chosen = {name: {k: v for k, v in (options or {}).items() if k in takes} for name, takes in known.items()}
    if towards:
        return {name: partial(_towards, TARGETED[name], chosen[name]) for name in own}
    return {name: partial(_away, verb, chosen[name]) for name, verb in own.items()}


def _away(verb, chosen, head, image, label, target, threat, generator, **more) -> AttackResult:
    return verb(head, image, label, threat, generator=generator, **chosen, **more)


def _towards(verb, chosen, head, image, label, target, threat, generator, **more) -> AttackResult:
    drawn = {"generator": generator} if "generator" in inspect.signature(verb).parameters else {}
    return verb(targeted(head, target), image, threat, **drawn, **chosen, **more)


def _takes(verb: Callable[..., Any]) -> set[str]:
    named = {name for name, one in inspect.signature(verb).parameters.items() if one.kind is one.KEYWORD_ONLY}
    return named - {"generator"}
