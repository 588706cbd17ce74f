"""Words as attacks, threats and label functions see them, and the shipped lexicon of words that mean the same."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

LEXICON = Path(__file__).with_name("lexicon.txt")

_INNER = re.compile(r"[^\W_](?:\S*[^\W_])?")
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[^\t\n\f <&#;]{1,32});?")
_VOWEL = re.compile(r"[aio]|e(?!u)|u(?!ni|s[eu]|t[ei])|x-|h(?:our|onest)")
_GRADED = frozenset("grade grades stage stages type types class level levels category score".split())
"""Words beside which a letter is a numeral: grade-II, type-I."""


class Core(NamedTuple):
    """A word without the punctuation around it: text[start:end]."""

    start: int
    end: int
    text: str


class Group(NamedTuple):
    """Words of one meaning. Each of `words` may be replaced by any other of the group; `oneway` only stand in."""

    words: tuple[str, ...]
    oneway: tuple[str, ...] = ()


def cores(text: str) -> list[Core]:
    """Find the words of a text, each without the punctuation around it (empty for a lone dash).

    HTML references count as what they stand for, as tokenizers read them: "&lt;" is a sign, "&nbsp;" white space.
    """
    found, (said, places) = [], unescaped(text)
    for word in re.finditer(r"\S+", said):
        inner = _INNER.search(word[0])
        start, end = inner.span() if inner else (0, 0)
        start, end = word.start() + start, word.start() + end
        if places is not None:
            start, end = places[start][0], places[end - 1][1] if inner else places[start][0]
        found.append(Core(start, end, inner[0] if inner else ""))
    return found


def plain(text: str) -> str:
    """Write the signs that HTML references stand for; twice, for a text that was escaped twice."""
    return unescaped(text)[0]


def unescaped(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """Undo HTML references as tokenizers do, and say which part of the text each character comes from."""
    if "&" not in text:
        return text, None
    places = [(i, i + 1) for i in range(len(text))]
    for _ in range(2):
        text, places = _unescaped_once(text, places)
    return text, places


def _unescaped_once(text: str, places: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    parts, found, at = list[str](), list[tuple[int, int]](), 0
    for reference in _REFERENCE.finditer(text):
        start, end = reference.span()
        said = html.unescape(reference[0])
        while end - start > 1 and len(said) > 1 and said[-1] == text[end - 1]:  # "&notit" is a sign and two letters
            said, end = said[:-1], end - 1
        parts += [text[at:start], said]
        found += [*places[at:start], *[(places[start][0], places[end - 1][1])] * len(said)]
        at = end
    return "".join(parts) + text[at:], found + places[at:]


def put_word(text: str, position: int, word: str, *, found: list[Core] | None = None) -> str:
    """Put another word in a place; punctuation stays, and so does the capital at the start of a sentence."""
    found = found or cores(text)
    old = found[position]
    if len(old.text) > 1 and old.text.isupper():
        word = word.upper()
    elif old.text[:1].isupper() and (position == 0 or text[: old.start].rstrip(" \n\t\"'([").endswith((".", ":", "?"))):
        word = word[:1].upper() + word[1:]
    return text[: old.start] + word + text[old.end :]


def frame(word: str) -> tuple[str, str]:
    """What stands around a word: the punctuation before and after it."""
    inner = _INNER.search(word)
    return (word[: inner.start()], word[inner.end() :]) if inner else (word, "")


def bare(word: str) -> str:
    """Lower case, without punctuation at the ends."""
    inner = _INNER.search(word)
    return inner[0].lower() if inner else ""


def singular(word: str) -> str:
    """Take off the ending of an English plural, where it looks like one."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def plural(word: str) -> str:
    """Put a word in the plural by the rule."""
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def forms(word: str) -> set[str]:
    """The bare word, its hyphened parts, and the singular and plural of each; letters alone have no plural.

    Signs that look alike are one: the curled apostrophe, wide letters, a letter with an invisible sign beside it.
    """
    whole = bare(legible(word))
    parts = {whole, *_parts(whole)}
    return parts | {form for part in parts if len(part) > 2 for form in (singular(part), plural(part))}


def legible(word: str) -> str:
    """Write a word with the plain letters that it looks like."""
    if word.isascii():
        return word
    word = unicodedata.normalize("NFKC", word).translate({0x2018: "'", 0x2019: "'", 0x02BC: "'", 0x00B4: "'"})
    return "".join(letter for letter in word if unicodedata.category(letter) != "Cf")


def _parts(whole: str) -> list[str]:
    # The x of an x-ray is no ten and the v of V-shaped no five; the l of l-sided is a side.
    parts = [part for part in re.split(r"[\W_]+", whole) if part]
    graded = all(part in _GRADED or len(part) < 4 for part in parts)
    return [part for part in parts if len(part) > 1 or part in "lr" or (graded and "ray" not in parts)]


def takes_an(word: str) -> bool:
    """Say whether a word begins with a vowel as it is spoken ("an X-ray", "a unit")."""
    return bool(_VOWEL.match(word.lower()))


def one_apart(one: str, other: str) -> bool:
    """Say whether two words differ by one swap of neighbours, one letter dropped, added or exchanged."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    swapped = len(a) == len(b) > 1 and a[1] == b[0] and a[0] == b[1] and a[2:] == b[2:]
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]


def read_lexicon(path: str | Path = LEXICON) -> tuple[Group, ...]:
    """Read a lexicon: a group a line, "a b > c" where c may stand for a and b but not they for it.

    Below the line [nouns] a plural group is added to every group by rule, below [words] none; # starts a comment.
    """
    found, nouns = [], False
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.partition("#")[0].strip().lower()
        if line in ("[nouns]", "[words]"):
            nouns = line == "[nouns]"
        elif line:
            left, _, right = line.partition(">")
            group = Group(tuple(left.split()), tuple(right.split()))
            if not group.words or len(group.words) + len(group.oneway) < 2:
                raise ValueError(f"{path}, line {number} must hold two words or more; got {line!r}. Write: film x-ray")
            found.append(group)
            if nouns:
                found.append(Group(*(tuple(plural(word) for word in part) for part in group)))
    return tuple(found)


def replacements(groups: tuple[Group, ...]) -> dict[str, tuple[str, ...]]:
    """For every word the words that may replace it."""
    return {
        word: tuple(other for other in (*group.words, *group.oneway) if other != word)
        for group in groups
        for word in group.words
    }


@cache
def canonical() -> dict[str, str]:
    """For every word of the shipped lexicon the first word of its group."""
    return dict(_firsts(read_lexicon()))


def _firsts(groups: tuple[Group, ...]) -> Iterator[tuple[str, str]]:
    for group in groups:
        for word in (*group.words, *group.oneway):
            yield word, group.words[0]
