"""From tokens to whole words and back, for attacks that score tokens: where a word stands, and which words can be put
together from pieces."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from heapq import nlargest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medadv._words import cores


class Pieces(NamedTuple):
    """What every token of a vocabulary may be in a word; specials and anything but plain letters may be nothing."""

    text: list[str]
    starts: Tensor
    """(V,) bool: may be the first piece of a word."""
    goes_on: Tensor
    """(V,) bool: may be a later one."""
    ends: Tensor
    """(V,) bool: may be the last one."""
    open: Tensor
    """(V,) bool: may be followed by another."""

    def fit(self, i: int, many: int) -> Tensor:
        """Say which tokens may be piece i of a word of so many pieces."""
        return (self.goes_on if i else self.starts) & (self.ends if i == many - 1 else self.open)


class Place(NamedTuple):
    """One token of one word: piece i of `many`, which stands in text row `text` at token position `at`."""

    text: int
    word: int
    i: int
    many: int
    at: int


def pieces_of(tokenizer: Any, size: int) -> Pieces:
    """Read a vocabulary: CLIP's marks the end of a word (</w>), WordPiece the inside (##), others the start (Ġ, ▁)."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    vocabulary: dict[str, int] = inner.get_vocab() if hasattr(inner, "get_vocab") else tokenizer.encoder
    special = set(getattr(inner, "all_special_ids", ()))
    ends_marked, inside_marked = "a</w>" in vocabulary, any(token.startswith("##") for token in vocabulary)
    text, first, last = [""] * size, torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for token, number in vocabulary.items():
        letters = re.sub(r"^(##|Ġ|▁)|</w>$", "", token)
        if number < size and number not in special and letters.isascii() and letters.isalpha():
            text[number] = letters
            first[number] = not token.startswith("##") if inside_marked else token.startswith(("Ġ", "▁"))
            last[number] = token.endswith("</w>")
    known = torch.tensor([bool(one) for one in text], dtype=torch.bool)
    if ends_marked:
        return Pieces(text, known, known, last, known & ~last)
    return Pieces(text, first, known & ~first, known, known)


def places_of(tokenizer: Any, texts: Sequence[str], tokens: Tensor) -> list[Place]:
    """Find the tokens of every word of every text; of words that were cut off, or read in another way, none."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    find = _by_offsets if hasattr(inner, "get_vocab") else _by_counting
    found = []
    for row, (text, line) in enumerate(zip(texts, tokens.tolist(), strict=True)):
        for word, at in enumerate(find(tokenizer, text, line)):
            found += [Place(row, word, i, len(at), position) for i, position in enumerate(at)]
    return found


def best_words(
    scores: Tensor, places: list[Place], pieces: Pieces, *, top: int
) -> dict[tuple[int, int], list[tuple[float, str]]]:
    """Put together the words of highest score for every word; a word of n pieces gives way to others of n pieces.

    The scores (n, V) of the pieces add up, so a beam of `top` holds the true best ones: never 4^n lists.
    """
    best: list[list[tuple[float, int]]] = [[] for _ in places]
    kinds = {(min(place.i, 1), place.i == place.many - 1) for place in places}
    for later, final in kinds:
        rows = [j for j, one in enumerate(places) if (min(one.i, 1), one.i == one.many - 1) == (later, final)]
        fits = pieces.fit(later, later + 1 if final else later + 2).to(scores.device)
        part = scores[rows].masked_fill(~fits, -torch.inf).topk(min(top, int(fits.sum())), dim=1)
        for j, values, ids in zip(rows, part.values.tolist(), part.indices.tolist(), strict=True):
            best[j] = list(zip(values, ids, strict=True))
    words: dict[tuple[int, int], list[tuple[float, str]]] = {}
    for j, place in enumerate(places):
        beam = words.get((place.text, place.word), [(0.0, "")])
        longer = [(a + b, said + pieces.text[number]) for a, said in beam for b, number in best[j]]
        words[place.text, place.word] = nlargest(top, longer)
    return words


def spell(tokenizer: Any, words: Collection[str]) -> dict[int, tuple[list[str], Tensor]]:
    """Cut a list of words into pieces: number of pieces n -> (words, their token numbers (m, n))."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    marks_start = hasattr(inner, "get_vocab")
    found: dict[int, tuple[list[str], list[list[int]]]] = {}
    for word in sorted({one.lower() for one in words}):
        # A blank before the word, for tokenizers that write it into the first piece.
        ids = inner(" " + word, add_special_tokens=False)["input_ids"] if marks_start else tokenizer.encode(word)
        said, numbers = found.setdefault(len(ids), ([], []))
        said.append(word)
        numbers.append(ids)
    return {many: (said, torch.tensor(numbers)) for many, (said, numbers) in found.items() if many}


def listed_words(
    scores: Tensor, places: list[Place], spelled: dict[int, tuple[list[str], Tensor]], *, top: int
) -> dict[tuple[int, int], list[tuple[float, str]]]:
    """Like `best_words`, among the words of a list, all of which are looked at."""
    words: dict[tuple[int, int], list[tuple[float, str]]] = {}
    for j, place in enumerate(places):
        if place.i == 0 and place.many in spelled:
            said, ids = spelled[place.many]
            rows = torch.arange(j, j + place.many, device=scores.device)
            best = scores[rows, ids.to(scores.device)].sum(1).topk(min(top, len(said)))
            pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            words[place.text, place.word] = [(value, said[one]) for value, one in pairs]
    return words


def _by_counting(tokenizer: Any, text: str, line: list[int]) -> list[list[int]]:
    # CLIP reads letters, digits and signs apart, so that the tokens of a text are those of its parts in a row.
    clean = getattr(tokenizer, "clean_fn", str)(text)
    found, at, start = list[list[int]](), 1, 0
    for core in cores(clean):
        at += len(tokenizer.encode(clean[start : core.start]))
        ids = tokenizer.encode(core.text) if core.text else []
        here = line[at : at + len(ids)] == ids
        found.append(list(range(at, at + len(ids))) if here else [])
        at, start = at + len(ids), core.end
        if not here:  # signs and letters were read together ('small' is 's and mall): count from the front again
            at = 1 + len(tokenizer.encode(clean[:start]))
    return _as_written(text, clean, found)


def _as_written(text: str, clean: str, found: list[list[int]]) -> list[list[int]]:
    """From the words of the text as the tokenizer cleans it to those as they are written; what has no twin has none."""
    written, read = ([core.text.lower() for core in cores(one)] for one in (text, clean))
    if len(written) == len(read):
        return found
    placed: list[list[int]] = [[] for _ in written]
    for a, b, many in SequenceMatcher(None, written, read, autojunk=False).get_matching_blocks():
        placed[a : a + many] = found[b : b + many]
    return placed


def _by_offsets(tokenizer: Any, text: str, line: list[int]) -> list[list[int]]:
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if not getattr(inner, "is_fast", False):
        raise ValueError(
            "The tokenizer of a word attack must be a fast one of transformers, which knows where a token stands in "
            f"the text; got {type(inner).__name__}. Load it with use_fast=True."
        )
    clean = getattr(tokenizer, "clean_fn", str)(text)
    read = inner(clean, return_offsets_mapping=True, truncation=True, max_length=len(line))
    if read["input_ids"] != line[: len(read["input_ids"])]:  # another layout of specials
        return []
    found: list[list[int]] = [[] for _ in cores(clean)]
    for word, core in enumerate(cores(clean)):
        found[word] = [j for j, (a, b) in enumerate(read["offset_mapping"]) if core.start <= a < b <= core.end]
        if found[word] and read["offset_mapping"][found[word][-1]][1] != core.end:  # the end was cut off
            found[word] = []
    return _as_written(text, clean, found)
