"""Where the words of a text attack come from: a source takes texts and proposes single-word edits for each."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from medadv._words import Group, cores, read_lexicon, replacements, takes_an


class Edit(NamedTuple):
    """Put another word in the place of one."""

    position: int
    """Number of the word, as split at white space."""
    word: str
    """What comes there, in lower case; the punctuation and the capital around it are kept."""


Source = Callable[[list[str]], list[list[Edit]]]
"""One list of edits for each text. A source may have `keep(rows)`, as objectives do: it is then narrowed to the texts
that are still attacked; and `passes`, the forward and backward passes that it takes for a text."""

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def synonyms(groups: tuple[Group, ...] | None = None) -> Source:
    """Propose words that mean the same, from a lexicon.

    Shapes   none.
    Units    single words for single words; an a or an before the word stays right.
    Returns  a source.
    Raises   ValueError for a lexicon that cannot be read.
    Source   ours: the shipped groups, unless told others (`medadv._words.read_lexicon` reads a file of yours).
    """
    table = replacements(read_lexicon() if groups is None else groups)

    def source(texts: list[str]) -> list[list[Edit]]:
        return [_synonyms(text, table) for text in texts]

    return source


def misspellings(seed: int = 0, *, each: int = 8, least: int = 4) -> Source:
    """Propose slips of the keyboard: neighbours swapped, a letter dropped, doubled, or the next key hit.

    Shapes   none.
    Units    `each` at most for a word, of words of at least `least` letters; first and last letter stay.
    Returns  a source; what it says of a word depends on the seed and the word alone.
    Raises   ValueError for fewer than one slip or three letters.
    Source   Pruthi et al. 2019, arXiv 1905.11268, section 3: edits inside a word, which readers hardly notice.
    """
    if each < 1 or least < 3:
        raise ValueError(
            f"The 'each' and 'least' parameters of misspellings must be at least 1 and 3; got {each} and {least}."
        )

    @cache
    def slips(word: str) -> tuple[str, ...]:
        found = _slips(word)
        # The word's own stream, so that neither its place nor its neighbours matter.
        order = np.random.default_rng((seed, zlib.crc32(word.encode()))).permutation(len(found))
        return tuple(found[i] for i in order[:each])

    def source(texts: list[str]) -> list[list[Edit]]:
        return [
            [
                Edit(position, slip)
                for position, word in enumerate(core.text.lower() for core in cores(text))
                if len(word) >= least and re.fullmatch("[a-z]+", word)
                for slip in slips(word)
            ]
            for text in texts
        ]

    return source


def _synonyms(text: str, table: dict[str, tuple[str, ...]]) -> list[Edit]:
    edits, before = [], ""
    for position, word in enumerate(core.text.lower() for core in cores(text)):
        for other in table.get(word, ()):
            if before not in ("a", "an") or takes_an(other) == takes_an(word):
                edits.append(Edit(position, other))
        before = word
    return edits


def _slips(word: str) -> list[str]:
    last = len(word) - 1
    found = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, last - 1)]
    found += [word[:i] + word[i + 1 :] for i in range(1, last)]
    found += [word[: i + 1] + word[i:] for i in range(1, last)]
    found += [word[:i] + key + word[i + 1 :] for i in range(1, last) for key in _beside(word[i])]
    return sorted(set(found) - {word})


@cache
def _beside(key: str) -> tuple[str, ...]:
    found = {b for row in _KEYBOARD for a, b in pairwise(row) if a == key}
    return tuple(sorted(found | {a for row in _KEYBOARD for a, b in pairwise(row) if b == key}))
