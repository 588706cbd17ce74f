"""What an attack on texts needs around its loop: embed and judge in batches, ask the sources, count, compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from medadv._finite import named
from medadv._words import cores, forms
from medadv.attacks.candidates import Edit
from medadv.objective import Objective
from medadv.types import Score


class Point(NamedTuple):
    """A text on the way: whose it is, and the loss that it, or the text it came from, had."""

    row: int
    text: str
    loss: float


class Reader:
    """Embed texts in batches, each different text once; ask the sources for edits; count the passes of both."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor], sources: list[Any], size: int):
        self.encode, self.sources, self.size = encode, sources, size
        self.forwards = self.backwards = 0

    def embed(self, texts: list[str]) -> Tensor:
        """One row for each text."""
        # Short ones first: a tower that drops common padding then has less to do.
        different = sorted(set(texts), key=lambda one: (len(one), one))
        starts = tqdm(range(0, len(different), self.size), desc="candidates", leave=False, delay=2)
        read = torch.cat([self.encode(different[i : i + self.size]) for i in starts])
        self.forwards += len(different)
        place = {one: i for i, one in enumerate(different)}
        return read[[place[one] for one in texts]]

    def propose(self, front: list[Point]) -> list[list[Edit]]:
        """For each text the edits of all sources, which are narrowed to it where they can be."""
        rows, texts = torch.tensor([one.row for one in front], dtype=torch.int64), [one.text for one in front]
        found: list[list[Edit]] = [[] for _ in front]
        for source in self.sources if front else ():
            narrow = getattr(source, "keep", None)
            forwards, backwards = getattr(source, "passes", (0, 0))
            self.forwards += forwards * len(front)
            self.backwards += backwards * len(front)
            for mine, more in zip(found, (narrow(rows) if narrow else source)(texts), strict=True):
                mine += more
        return found


def check_texts(text: Any, **least_one: int | None) -> list[str]:
    """Refuse anything but texts with words, and settings below 1."""
    if isinstance(text, str) or not isinstance(text, Sequence) or not all(isinstance(one, str) for one in text):
        raise ValueError(
            "The 'text' parameter of swap_words must be a list of str; "
            f"got {'one' if isinstance(text, str) else type(text).__name__}. Write ['a sentence']."
        )
    blank = [i for i, one in enumerate(text) if not any(core.text for core in cores(one))]
    if blank:
        raise ValueError(
            f"The 'text' parameter of swap_words must hold a word in every text; got an empty one at {blank[0]}. "
            "Leave such texts out."
        )
    for name, value in least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"The '{name}' parameter of swap_words must be at least 1; got {value}.")
    return list(text)


def judge(want: Objective, embedded: Tensor, rows: list[int], size: int, *, clean: bool = False) -> Score:
    """Score embeddings, each as the objective's row it is a version of; NaN is no success, and of a clean text refused.

    A model that breaks down at a candidate has not been fooled by it.
    """
    parts = []
    for start in range(0, len(rows), size):
        part = torch.tensor(rows[start : start + size])
        score = want.keep(part)(embedded[start : start + size])
        if score.loss.shape != part.shape:
            raise ValueError(
                "The 'want' parameter of swap_words must judge embeddings of texts, one row for each; got a loss of "
                f"shape {tuple(score.loss.shape)} for {len(part)} texts."
            )
        parts.append(score)
    loss, won = torch.cat([one.loss for one in parts]), torch.cat([one.won for one in parts])
    broken = loss.isnan()
    if clean and broken.any():
        raise ValueError(
            f"The 'want' parameter of swap_words must give a number for every clean text; got NaN for texts "
            f"{named(broken.nonzero().flatten())} of {len(loss)}. Check the embeddings that it compares with."
        )
    return Score(loss.masked_fill(broken, -torch.inf), won & ~broken)


def edits_between(before: str, after: str) -> tuple[tuple[int, str, str], ...]:
    """(Word number, before, after) for every word that differs."""
    pairs = zip(cores(before), cores(after), strict=True)
    return tuple((i, a.text, b.text) for i, (a, b) in enumerate(pairs) if a.text != b.text)


def keeps(before: str, after: str, words: Collection[str]) -> bool:
    """Say whether all of these words that stood in a text, in whatever number, still do."""
    wanted = {form for word in words for form in forms(word)}
    had, has = ({form for core in cores(one) for form in forms(core.text)} & wanted for one in (before, after))
    return had <= has
