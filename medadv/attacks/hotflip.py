"""Words that the gradient points at: one backward pass ranks every replacement of every word (HotFlip)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from medadv._quiet import quiet
from medadv._words import cores
from medadv.attacks._wordpieces import Pieces, best_words, listed_words, pieces_of, places_of, spell
from medadv.attacks.candidates import Edit
from medadv.objective import Objective

if TYPE_CHECKING:
    from medadv.models.vlm import VLM


@dataclass(frozen=True)
class HotFlip:
    """A source of edits, see `hotflip`."""

    vlm: VLM
    want: Objective
    pieces: Pieces
    listed: dict[int, tuple[list[str], Tensor]] | None
    top: int
    batch_size: int
    passes: ClassVar[tuple[int, int]] = (1, 1)

    def keep(self, rows: Tensor) -> HotFlip:
        """Return the same source for a part of the texts, with repeats if you like."""
        with torch.inference_mode(False):  # rows cut inside inference_mode could not stand beside a gradient
            return replace(self, want=self.want.keep(rows))

    @torch.inference_mode(False)
    def __call__(self, texts: list[str]) -> list[list[Edit]]:
        edits: list[list[Edit]] = []
        for start in range(0, len(texts), self.batch_size):
            part = texts[start : start + self.batch_size]
            edits += self._flip(part, self.want.keep(torch.arange(start, start + len(part))))
        return edits

    def _flip(self, texts: list[str], want: Objective) -> list[list[Edit]]:
        tokens = self.vlm.tokenize(texts)
        places = places_of(self.vlm.tokenizer, texts, tokens)
        edits: list[list[Edit]] = [[] for _ in texts]
        if not places:
            return edits
        gradient = token_gradient(self.vlm, want, tokens)
        table = self.vlm.token_embedding().weight.detach().float()
        slope = gradient[[one.text for one in places], [one.at for one in places]]
        here = table[tokens[[one.text for one in places], [one.at for one in places]].to(table.device)]
        gain = slope @ table.T - (slope * here).sum(1, keepdim=True)  # (E_b - E_a) . dL/de, for every b
        old = [[core.text.lower() for core in cores(text)] for text in texts]
        if self.listed is None:
            best = best_words(gain, places, self.pieces, top=self.top + 1)
        else:
            best = listed_words(gain, places, self.listed, top=self.top + 1)
        for (row, word), found in best.items():
            new = [said.lower() for _, said in found if len(said) > 1 and said.lower() != old[row][word]]
            edits[row] += [Edit(word, said) for said in dict.fromkeys(new)][: self.top]
        return edits


def hotflip(
    vlm: VLM, want: Objective, *, words: Collection[str] | None = None, top: int = 8, batch_size: int = 32
) -> HotFlip:
    """Propose the words that the gradient of the objective with respect to the token embeddings ranks highest.

    Shapes   want: an objective on text embeddings, one row for each text; the gain is (tokens, V).
    Units    `top` words for each word, of as many pieces. Without `words` they are put together from the pieces of the
             vocabulary by a beam of `top`, and need be no words of any language; else they come from that list.
    Returns  a source, which `swap_words` narrows to the texts that go on.
    Raises   ValueError for a tokenizer that does not tell where a token stands, or a `top` below 1.
    Source   Ebrahimi et al. 2018, arXiv 1712.06751: gain (E_b - E_a) . dL/de_a, to first order. Differs: words instead
             of letters, all texts in one pass; specials and padding are never touched.
    """
    if top < 1:
        raise ValueError(f"The 'top' parameter of hotflip must be at least 1; got {top}.")
    pieces = pieces_of(vlm.tokenizer, vlm.token_embedding().num_embeddings)
    return HotFlip(vlm, want, pieces, None if words is None else spell(vlm.tokenizer, words), top, batch_size)


def token_gradient(vlm: VLM, want: Objective, tokens: Tensor) -> Tensor:
    """Take the gradient of the summed loss with respect to the token embeddings of the texts.

    Shapes   tokens (N, L); result (N, L, width).
    Units    loss of the objective by units of the embedding table.
    Returns  float32 gradient; no parameter receives one.
    Raises   whatever the objective raises.
    Source   ours: a hook puts a leaf behind the embedding module, so that no copy of the tower is needed.
    """
    held: list[Tensor] = []

    def cut(_module, _inputs, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[-1]

    with torch.inference_mode(False), torch.enable_grad(), quiet(vlm, *want.models):
        hook = vlm.token_embedding().register_forward_hook(cut)
        try:
            loss = want(vlm.encode_text(tokens.clone())).loss.sum()
        finally:
            hook.remove()
        (gradient,) = torch.autograd.grad(loss, held)
    # A BERT tower is not run over columns that are padding everywhere; there is no gradient there.
    return torch.nn.functional.pad(gradient.float(), (0, 0, 0, tokens.shape[1] - gradient.shape[1]))
