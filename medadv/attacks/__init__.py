"""Attacks: verbs that take an objective, images and a threat, and return an AttackResult."""

from medadv.attacks.auto import apgd, apgd_targeted
from medadv.attacks.decision import hopskipjump
from medadv.attacks.gradient import fgsm, mifgsm, pgd
from medadv.attacks.minimal import SmallestResult, ddn, smallest_eps
from medadv.attacks.multimodal import PairsResult, co_attack, separate, sga
from medadv.attacks.registry import ATTACKS, PAIR_ATTACKS, Attack
from medadv.attacks.square import square
from medadv.attacks.suite import SuiteResult, suite
from medadv.attacks.text import TextResult, swap_words
from medadv.attacks.universal import Fooled, Universal, universal

__all__ = [
    "ATTACKS",
    "PAIR_ATTACKS",
    "Attack",
    "Fooled",
    "PairsResult",
    "SmallestResult",
    "SuiteResult",
    "TextResult",
    "Universal",
    "apgd",
    "apgd_targeted",
    "co_attack",
    "ddn",
    "fgsm",
    "hopskipjump",
    "mifgsm",
    "pgd",
    "separate",
    "sga",
    "smallest_eps",
    "square",
    "suite",
    "swap_words",
    "universal",
]
