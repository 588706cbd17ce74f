"""Attacks: verbs that take an objective, images and a threat, and return an AttackResult."""

from medadv.attacks._edges import ATTACKS
from medadv.attacks.auto import apgd, apgd_targeted
from medadv.attacks.gradient import fgsm, mifgsm, pgd
from medadv.attacks.square import square
from medadv.attacks.suite import SuiteResult, suite
from medadv.attacks.universal import Fooled, Universal, universal

__all__ = [
    "ATTACKS",
    "Fooled",
    "SuiteResult",
    "Universal",
    "apgd",
    "apgd_targeted",
    "fgsm",
    "mifgsm",
    "pgd",
    "square",
    "suite",
    "universal",
]
