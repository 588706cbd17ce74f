"""What can truly be said of a phantom, and at least five ways to say it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

COUNTS = ("no", "one", "two", "three", "four", "five", "six")


class Facts(NamedTuple):
    """The truth about one scene, in words. Everything but `finding` may be empty."""

    finding: tuple[str, ...]
    """Interchangeable noun phrases without article, singular ("lung nodule", "pulmonary nodule")."""
    positive: bool = True
    """False for the reference class of the modality, where `finding` says what is seen ("normal chest")."""
    count: int = 1  # type: ignore[assignment]
    """How many there are; more than one is said in the plural, which adds an s to the phrase."""
    size: str = ""
    """small, medium-sized or large."""
    place: tuple[str, ...] = ()
    """Interchangeable phrases with their preposition ("in the right upper zone")."""
    severity: str = ""
    """mild, moderate or severe."""
    detail: tuple[str, ...] = ()
    """Interchangeable sign phrases without preposition ("blunting of the costophrenic angle"), said after "with"."""
    absent: tuple[str, ...] = ()
    """Findings of this modality that are truly not there, for "no ..." sentences."""
    mass_noun: bool = False
    """True where the finding takes no article ("cardiomegaly")."""


def article(phrase: str) -> str:
    """Put a or an before a phrase.

    Shapes   none.
    Units    none.
    Returns  str.
    Raises   nothing.
    Source   ours.
    """
    return ("an " if phrase[:1].lower() in "aeiou" else "a ") + phrase


def whereabouts(x: float, y: float, noun: str = "image") -> tuple[str, ...]:
    """Name the place of a point in words, for pictures without a left and right of the patient.

    Shapes   none.
    Units    fractions of the side.
    Returns  interchangeable phrases with their preposition.
    Raises   nothing.
    Source   ours; the middle fifth counts as the centre.
    """
    across = "left" if x < 0.4 else "right" if x > 0.6 else ""
    down = "upper" if y < 0.4 else "lower" if y > 0.6 else ""
    if not across and not down:
        return ("in the centre", f"in the middle of the {noun}", f"in the central part of the {noun}")
    spot = f"{down} {across}".strip()
    part = f"{spot} part" if not (across and down) else f"{spot} quadrant"
    return (
        f"in the {part}",
        f"in the {part} of the {noun}",
        f"on the {across} side" if not down else f"in the {spot} area",
    )


def write(facts: Facts, nouns: tuple[str, ...], rng: np.random.Generator, count: int = 6) -> tuple[str, ...]:
    """Say the facts in several different sentences.

    Shapes   none.
    Units    none.
    Returns  `count` different captions, the first with every known fact; from the others clauses are dropped at
             random, for without that a model learns whole sentences and fails on short prompts.
    Raises   ValueError if the facts are too few for that many sentences.
    Source   ours; the need for dropped clauses was measured in the pilot (see the first chapter).
    """
    said: list[str] = []
    for attempt in range(20 * count):
        full = attempt == 0
        caption = (
            _positive(facts, nouns, rng, attempt, full) if facts.positive else _reference(facts, nouns, rng, attempt)
        )
        if caption not in said:
            said.append(caption)
        if len(said) == count:
            return tuple(said)
    raise ValueError(f"The 'facts' parameter of write must allow {count} sentences; got {facts}. Add wordings.")


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))] if words else ""


def _sentence(text: str) -> str:
    text = " ".join(text.split()).replace(" ,", ",").replace(" .", ".")
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _positive(facts: Facts, nouns: tuple[str, ...], rng: np.random.Generator, attempt: int, full: bool) -> str:
    def keep(clause: str, chance: float = 0.6) -> str:
        return clause if clause and (full or rng.random() < chance) else ""

    noun, name, place = _pick(rng, nouns), _pick(rng, facts.finding), keep(_pick(rng, facts.place))
    size, severity, detail = keep(facts.size), keep(facts.severity), keep(_pick(rng, facts.detail), 0.35)
    many = facts.count > 1
    number = COUNTS[facts.count] if facts.count < len(COUNTS) else "several"
    thing = f"{severity} {size} {name}{'s' if many else ''}".strip()
    thing = " ".join(thing.split())
    counted = f"{number} {thing}" if many else thing if facts.mass_noun else article(thing)
    tail = f" with {detail}" if detail else ""
    forms = (
        f"{article(noun)} showing {counted} {place}{tail}",
        f"{noun}: {thing} {place}",
        f"there {'are' if many else 'is'} {counted} {place} on this {noun}",
        f"{counted} {place}{tail}",
        f"findings: {name}{'s' if many else ''}{', ' + size if size else ''}{', ' + severity if severity else ''}"
        f"{', ' + place if place else ''}",
        f"{article(noun)} with {counted}",
        f"this {noun} shows {counted} {place}",
        f"the {name}{'s are' if many else ' is'} seen {place or 'on this ' + noun}",
    )
    return _sentence(forms[0] if full else forms[(attempt + int(rng.integers(2))) % len(forms)])


def _reference(facts: Facts, nouns: tuple[str, ...], rng: np.random.Generator, attempt: int) -> str:
    noun, name = _pick(rng, nouns), _pick(rng, facts.finding)
    place, detail, absent = _pick(rng, facts.place), _pick(rng, facts.detail), _pick(rng, facts.absent)
    tail = f" with {detail}" if detail and rng.random() < 0.5 else ""
    forms = (
        f"{article(noun)} showing {article(name)}{tail}",
        f"{noun}: {name}{', no ' + absent if absent and rng.random() < 0.5 else ''}",
        f"this {noun} shows {article(name)} {place}",
        f"{article(name)}{tail}",
        f"no {absent} on this {noun}, {name}" if absent else f"{article(noun)} with {article(name)}",
        f"findings: {name}",
        f"{article(noun)} with {article(name)}",
    )
    return _sentence(forms[attempt % len(forms)])
