"""What a caption or a report says, as a value that can be compared: the judge of whether a changed text still means
the same."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from medadv._protected import NEGATIONS, NUMBERS, holds_number, loaded
from medadv.data._phrases import (
    CHANGES,
    DOUBTS,
    KINDS,
    PHANTOM_FINDINGS,
    PHANTOM_SIGNS,
    PLACES,
    REPORT_FINDINGS,
    SEVERITIES,
    SIZES,
    Token,
    content,
    index,
    matches,
    read,
)
from medadv.data.phantoms import MODALITIES

_TURNS = frozenset("but however although though except yet with showing demonstrates".split())


class Finding(NamedTuple):
    """One finding of a phantom's caption; what is not said is empty."""

    name: str
    """Class name, such as chest/opacity."""
    present: bool
    number: str = ""
    """A number word, "several" for a plural without one."""
    size: str = ""
    severity: str = ""


class Meaning(NamedTuple):
    """What a caption of a phantom says."""

    modality: tuple[str, ...]
    findings: tuple[Finding, ...]
    place: tuple[str, ...]
    """Words of side and zone in their order."""
    signs: tuple[str, ...]
    """Everything else that says something, in its order."""


class Mention(NamedTuple):
    """One finding of a report, with what its clause says of it."""

    name: str
    status: str
    """present, absent or uncertain."""
    places: tuple[str, ...]
    degrees: tuple[str, ...]


class Reading(NamedTuple):
    """What a report says: its findings, and every word that carries meaning: negation, side, direction, degree, number,
    doubt, change, and the antonyms of findings, each in one word for all that say the same."""

    mentions: tuple[Mention, ...]
    words: tuple[str, ...]


def phantom_meaning(caption: str) -> Meaning:
    """Read a caption of a phantom: modality, findings with count, size and severity, place, and all other signs.

    Shapes   none.
    Units    words in the lexicon's spelling: synonyms read the same. An unknown word is read as the known one that is
             one slip away, as a human would read a misspelling; other unknown words say nothing.
    Returns  Meaning, hashable; equal exactly where two captions of the same build say the same.
    Raises   nothing; a text of another kind gives few or no findings.
    Source   ours. Exact for the captions that this package writes (a test parses those of 2,000 phantoms).
    """
    tokens, place, signs = read(caption), list[str](), list[str]()
    findings, modality, used = list[Finding](), list[str](), set[int]()
    for start, end, key in matches(tokens, _phantom_index()):
        used.update(range(start, end))
        if key in MODALITIES:
            modality.append(key)
            continue
        if key in PHANTOM_SIGNS:
            signs += [token.word for token in tokens[start:end]]
            continue
        said = _around(tokens, start, end)
        used.update(said.pop("used"))
        no = any(t.word in NEGATIONS and t.clause == tokens[start].clause for t in tokens[:start])
        findings.append(Finding(key, not no, **said))
        signs += [tokens[j].word for j in range(start, end) if tokens[j].word in KINDS]
    for j, (word, *_) in enumerate(tokens):
        if j in used:
            continue
        if word in PLACES:
            place.append(word)
        elif word in content() or word in _LOADED or holds_number(word):
            signs.append(word)
        else:
            signs += loaded(word)
    return Meaning(tuple(modality), tuple(findings), tuple(place), tuple(signs))


def report_meaning(text: str) -> Reading:
    """Label a report by rules: findings with negation, doubt, side, degree, and every other loaded word.

    Shapes   none.
    Units    words as in `phantom_meaning`.
    Returns  Reading, hashable. A negation holds for what follows it in its sentence up to but, however, with and the
             like, and for what comes before it in its clause ("effusion has resolved"); a doubt for its clause.
    Raises   nothing.
    Source   the scheme of NegEx (Chapman et al. 2001) and CheXpert (Irvin et al. 2019, arXiv 1901.07031), with a short
             list of findings of our own. Differs: it is made to compare a text with its edit, where a finding that it
             does not know, or a scope that it gets wrong, is the same on both sides. It is no labeller for training.
    """
    tokens = read(text)
    mentions = tuple(
        Mention(
            key, _status(tokens, start, end), _near(tokens, start, PLACES), _near(tokens, start, SIZES | SEVERITIES)
        )
        for start, end, key in matches(tokens, _report_index())
    )
    return Reading(mentions, tuple(word for token in tokens for word in _said_by(token.word)))


def _said_by(word: str) -> tuple[str, ...]:
    plain = word in _LOADED or word in PLACES or holds_number(word)
    return (word,) if plain else loaded(word)


_LOADED = NEGATIONS | NUMBERS | SIZES | SEVERITIES | DOUBTS | CHANGES


@cache
def _phantom_index() -> dict:
    nouns = {name: module.NOUNS for name, module in MODALITIES.items()}
    return index(PHANTOM_FINDINGS, PHANTOM_SIGNS, nouns)


@cache
def _report_index() -> dict:
    return index(REPORT_FINDINGS)


def _around(tokens: list[Token], start: int, end: int) -> dict:
    # "three small severe nodules", "nodules, small, severe": the words of count and degree that touch the phrase.
    said: dict = {"number": "", "size": "", "severity": "", "used": set()}
    for way, at in ((-1, start - 1), (1, end)):
        while 0 <= at < len(tokens):
            word = tokens[at].word
            kind = (
                "size" if word in SIZES else "severity" if word in SEVERITIES else "number" if word in NUMBERS else ""
            )
            if not kind or said[kind] or (kind == "number" and way > 0):
                break
            said[kind] = word
            said["used"].add(at)
            at += way
    if not said["number"] and tokens[end - 1].many:
        said["number"] = "several"
    return said


def _status(tokens: list[Token], start: int, end: int) -> str:
    sentence, clause = tokens[start].sentence, tokens[start].clause
    absent = False
    for token in tokens[:start]:
        if token.sentence == sentence:
            absent = token.word in NEGATIONS or (absent and token.word not in _TURNS)
    for token in tokens[end:]:  # "effusion is absent", "no longer seen"
        if token.clause != clause or token.word in _TURNS:
            break
        absent = absent or token.word in NEGATIONS
    doubt = any(token.clause == clause and token.word in DOUBTS for token in tokens)
    return "uncertain" if doubt else "absent" if absent else "present"


def _near(tokens: list[Token], start: int, kind: frozenset[str]) -> tuple[str, ...]:
    return tuple(token.word for token in tokens if token.clause == tokens[start].clause and token.word in kind)
