"""Attacks, as verbs: `attack(want, image, threat, *, ...) -> AttackResult`. The engine moves in here.

What it stands on is there: `medadv.threat` (what may be done), `medadv.objective` (what is wanted), `medadv.types`.
"""
