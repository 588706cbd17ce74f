"""Attacks: verbs that take an objective, images and a threat, and return an AttackResult."""

from medadv.attacks.gradient import fgsm, mifgsm, pgd

__all__ = ["fgsm", "mifgsm", "pgd"]
