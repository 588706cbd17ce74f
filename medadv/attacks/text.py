"""Attack a text by exchanging a few words, all candidates of all texts judged in large batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._finite import check_finite
from medadv._quiet import quiet
from medadv._words import put_word
from medadv.attacks._reading import Point, Reader, check_texts, edits_between, judge, keeps
from medadv.attacks.candidates import Source
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
    texts = check_texts(text, beam=beam, tries=tries, batch_size=batch_size)
    began, many = time.perf_counter(), len(texts)
    fits = _Door(texts, threat, meaning)
    if not texts:
        none = torch.zeros(0)
        empty = TextResult([], none.bool(), none, [], none.long(), none.long(), none, none.bool())
        return replace(empty, early_stop=stop)
    reader = Reader(encode, [sources] if callable(sources) else list(sources), batch_size)
    with torch.inference_mode(False), torch.no_grad(), quiet(*want.models, getattr(encode, "__self__", encode)):
        clean = check_finite(reader.embed(texts), "The embeddings of swap_words", rows="texts")
        score = judge(want, clean, list(range(many)), batch_size, clean=True)
        best, found, won, loss = list(texts), clean.clone(), score.won.tolist(), score.loss.tolist()
        front = [Point(i, texts[i], loss[i]) for i in range(many) if not (stop and won[i])]
        for _ in range(threat.words):
            fresh: list[Point] = []
            for point, edits in zip(front, reader.propose(front), strict=True):
                others = dict.fromkeys(put_word(point.text, edit.position, edit.word) for edit in edits)
                options = [point._replace(text=other) for other in others if fits(point.row, other)]
                fresh += _some(options, tries, generator)
            if not fresh:
                break
            embedded = reader.embed([one.text for one in fresh])
            score = judge(want, embedded, [one.row for one in fresh], batch_size)
            wins, losses, front = score.won.tolist(), score.loss.tolist(), []
            ranked = sorted(range(len(fresh)), key=lambda j: (fresh[j].row, not wins[j], -losses[j]))
            for row, group in groupby(ranked, key=lambda j: fresh[j].row):
                order = list(group)
                j = order[0]
                if (wins[j] and not won[row]) or (wins[j] == won[row] and losses[j] > loss[row] + RISE):
                    best[row], found[row], won[row], loss[row] = fresh[j].text, embedded[j], wins[j], losses[j]
                if not (stop and won[row]):
                    rising = [j for j in order if losses[j] > fresh[j].loss + RISE]
                    front += [Point(row, fresh[j].text, losses[j]) for j in rising[:beam]]
        near = F.cosine_similarity(clean.float(), found.float(), dim=1)
        kept = torch.tensor([keeps(a, b, finding) for a, b in zip(texts, best, strict=True)])
        changed = [edits_between(a, b) for a, b in zip(texts, best, strict=True)]
        refused, guarded = torch.tensor(fits.refused), torch.tensor(fits.guarded)
        cost = Cost(0, reader.backwards, reader.forwards, time.perf_counter() - began)
        score = Score(torch.tensor(loss, device=clean.device), torch.tensor(won, device=clean.device))
        return TextResult(best, score.won, score.loss, changed, refused, guarded, near, kept, cost, stop)


class _Door:
    """Let every text within reach through once, and count what is turned down."""

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


def _some(options: list[Point], tries: int | None, generator: torch.Generator | None) -> list[Point]:
    if tries is None or len(options) <= tries:
        return options
    return [options[j] for j in sorted(torch.randperm(len(options), generator=generator)[:tries].tolist())]
