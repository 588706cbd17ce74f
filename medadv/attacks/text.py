"""Attack a text by exchanging a few words, all candidates of all texts judged in large batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from medadv._finite import check_finite, named
from medadv._quiet import quiet
from medadv._words import cores, forms, put_word
from medadv.attacks.candidates import Edit, Source
from medadv.objective import Objective
from medadv.threat import TextThreat
from medadv.types import Cost, Score, _Rows

RISE = 1e-6
"""A loss that rises by less has not risen: the same text in another batch differs by as much."""


@dataclass(frozen=True)
class TextResult(_Rows):
    """What an attack on texts found: for each the best text within reach, the clean one where none was better."""

    text: list[str]
    won: Tensor
    """(N,) bool."""
    loss: Tensor
    """(N,) at `text`."""
    edits: list[tuple[tuple[int, str, str], ...]]
    """For each text the (word number, before, after) of every word that differs from the clean one."""
    refused: Tensor
    """(N,) int64: candidates within reach that were turned down because they mean something else."""
    guarded: Tensor
    """(N,) int64: candidates turned down because they touch a protected word."""
    similarity: Tensor
    """(N,) cosine between the embeddings of the clean and the found text."""
    kept: Tensor
    """(N,) bool: all words of the findings that the clean text had are still there."""
    cost: Cost = Cost()
    early_stop: bool = False
    """Whether a text was left alone once it had won, which says nothing of deeper ranks and of the loss."""

    def __len__(self) -> int:
        return len(self.text)

    def __repr__(self) -> str:
        c = self.cost
        return f"TextResult({int(self.won.sum())}/{len(self)} won, {c.text_forwards} texts read, {c.seconds:.1f} s)"


def swap_words(
    want: Objective,
    text: Sequence[str],
    threat: TextThreat,
    *,
    encode: Callable[[Sequence[str]], Tensor],
    sources: Source | Sequence[Source],
    meaning: Callable[[str], Hashable] | None = None,
    finding: Collection[str] = (),
    beam: int = 1,
    tries: int | None = None,
    batch_size: int = 256,
    stop: bool = True,
    generator: torch.Generator | None = None,
) -> TextResult:
    """Exchange words one after another, each time the one that raises the objective most.

    Shapes   N texts; encode: M texts to (M, D), as `vlm.encode_text`; want: an objective on such embeddings with one
             row for each of the N texts.
    Units    threat.words counts words that differ from the clean text; `tries` limits the candidates of one text in
             one round (drawn by the generator), `beam` is how many texts a round goes on from.
    Returns  TextResult. A candidate must be within reach of the threat and, where `meaning` is given, mean the same as
             the clean text: meaning(clean) == meaning(candidate); those that do not are counted. `finding` are the
             words of the classes, for `kept`. Texts that won leave, unless `stop` is False: where recall at a deeper
             rank than the objective's is counted later, or the loss, say stop=False. An edit behind the end of the
             model's context raises nothing, so it is never taken.
    Raises   ValueError for anything but a list of texts with a word in each, or an objective of other rows.
    Source   greedy word substitution as in Li et al. 2020 (BERT-Attack), arXiv 2004.09984. Differs: no ranking of words
             first: all candidates of all texts are scored, repeated ones once, in batches.
    """
    texts = _check_texts(text, beam=beam, tries=tries, batch_size=batch_size)
    began, many = time.perf_counter(), len(texts)
    fits = _Filter(texts, threat, meaning)
    if not texts:
        none = torch.zeros(0)
        empty = TextResult([], none.bool(), none, [], none.long(), none.long(), none, none.bool())
        return replace(empty, early_stop=stop)
    reader = _Reader(encode, [sources] if callable(sources) else list(sources), batch_size)
    with torch.inference_mode(False), torch.no_grad(), quiet(*want.models, getattr(encode, "__self__", encode)):
        clean = check_finite(reader.embed(texts), "The embeddings of swap_words", rows="texts")
        score = _judge(want, clean, list(range(many)), batch_size, clean=True)
        best, found, won, loss = list(texts), clean.clone(), score.won.tolist(), score.loss.tolist()
        front = [_Point(i, texts[i], loss[i]) for i in range(many) if not (stop and won[i])]
        for _ in range(threat.words):
            fresh: list[_Point] = []
            for point, edits in zip(front, reader.propose(front), strict=True):
                others = dict.fromkeys(put_word(point.text, edit.position, edit.word) for edit in edits)
                options = [point._replace(text=other) for other in others if fits(point.row, other)]
                fresh += _some(options, tries, generator)
            if not fresh:
                break
            embedded = reader.embed([one.text for one in fresh])
            score = _judge(want, embedded, [one.row for one in fresh], batch_size)
            wins, losses, front = score.won.tolist(), score.loss.tolist(), []
            ranked = sorted(range(len(fresh)), key=lambda j: (fresh[j].row, not wins[j], -losses[j]))
            for row, group in groupby(ranked, key=lambda j: fresh[j].row):
                order = list(group)
                j = order[0]
                if (wins[j] and not won[row]) or (wins[j] == won[row] and losses[j] > loss[row] + RISE):
                    best[row], found[row], won[row], loss[row] = fresh[j].text, embedded[j], wins[j], losses[j]
                if not (stop and won[row]):
                    rising = [j for j in order if losses[j] > fresh[j].loss + RISE]
                    front += [_Point(row, fresh[j].text, losses[j]) for j in rising[:beam]]
        near = F.cosine_similarity(clean.float(), found.float(), dim=1)
        kept = torch.tensor([_keeps(a, b, finding) for a, b in zip(texts, best, strict=True)])
        changed = [_edits_between(a, b) for a, b in zip(texts, best, strict=True)]
        refused, guarded = torch.tensor(fits.refused), torch.tensor(fits.guarded)
        cost = Cost(0, reader.backwards, reader.forwards, time.perf_counter() - began)
        score = Score(torch.tensor(loss, device=clean.device), torch.tensor(won, device=clean.device))
        return TextResult(best, score.won, score.loss, changed, refused, guarded, near, kept, cost, stop)


class _Filter:
    """Let every candidate within reach through once, and count what is turned down."""

    def __init__(self, clean: list[str], threat: TextThreat, meaning: Callable[[str], Hashable] | None):
        self.clean, self.threat = clean, threat
        self.meaning = cache(meaning) if meaning else lambda _: None
        self.seen = [{one} for one in clean]
        self.refused, self.guarded = [0] * len(clean), [0] * len(clean)

    def __call__(self, row: int, text: str) -> bool:
        if text in self.seen[row]:
            return False
        self.seen[row].add(text)
        if not self.threat.allows(self.clean[row], text):
            self.guarded[row] += 1
            return False
        if self.meaning(text) != self.meaning(self.clean[row]):
            self.refused[row] += 1
            return False
        return True


def _some(options: list[_Point], tries: int | None, generator: torch.Generator | None) -> list[_Point]:
    if tries is None or len(options) <= tries:
        return options
    return [options[j] for j in sorted(torch.randperm(len(options), generator=generator)[:tries].tolist())]


class _Point(NamedTuple):
    """A text on the way: whose it is, and the loss that it, or the text it came from, had."""

    row: int
    text: str
    loss: float


class _Reader:
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

    def propose(self, front: list[_Point]) -> list[list[Edit]]:
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


def _check_texts(text: Any, **least_one: int | None) -> list[str]:
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


def _judge(want: Objective, embedded: Tensor, rows: list[int], size: int, *, clean: bool = False) -> Score:
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


def _edits_between(before: str, after: str) -> tuple[tuple[int, str, str], ...]:
    """(Word number, before, after) for every word that differs."""
    pairs = zip(cores(before), cores(after), strict=True)
    return tuple((i, a.text, b.text) for i, (a, b) in enumerate(pairs) if a.text != b.text)


def _keeps(before: str, after: str, words: Collection[str]) -> bool:
    """Say whether all of these words that stood in a text, in whatever number, still do."""
    wanted = {form for word in words for form in forms(word)}
    had, has = ({form for core in cores(one) for form in forms(core.text)} & wanted for one in (before, after))
    return had <= has
