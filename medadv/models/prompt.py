"""A learnable prompt: context vectors that stand before every class name, in place of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medadv._device import autocast
from medadv._quiet import quiet
from medadv.models.head import EmbeddingHead, ZeroShot
from medadv.models.vlm import VLM, check_text


class Prompt(EmbeddingHead):
    """Context vectors shared by all classes, in front of "name."; both towers stay frozen.

    Shapes   context (M, width) of M tokens; weight() (K, D); pixels (B, 3, H, W) -> logits (B, K).
    Units    weight() of unit length; the gradient reaches the context and nothing else.
    Returns  a module; `context` is a sentence whose tokens are the start (all of them can be learned), or None for
             `length` random vectors of standard deviation 0.02.
    Raises   ValueError for no classes, a context without tokens, names that no longer fit the text tower, or a text
             tower without start and end tokens.
    Source   CoOp, Zhou et al. 2022, arXiv 2109.01134, unified context, class token at the end.
    """

    tokens: Tensor

    def __init__(
        self,
        vlm: VLM,
        classes: Sequence[str],
        *,
        context: str | None = "a medical image showing",
        length: int = 4,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.vlm, self.classes, self.words = vlm, tuple(check_text(classes, "Prompt")), context
        self.streams = ()
        """The noise it was fitted on, which must not certify it."""
        table = vlm.token_embedding().weight.detach()
        if context is None:
            if length < 1:
                raise ValueError(f"The 'length' parameter of Prompt must be 1 or more; got {length}. CoOp uses 4.")
            start = 0.02 * torch.randn(length, table.shape[1], generator=generator)
        else:
            start = table[_inner(vlm, context).to(table.device)]
            if not len(start):
                raise ValueError("The 'context' parameter of Prompt must hold a word; got none. Or use None.")
        self.context = nn.Parameter(start.clone().to(table.device, table.dtype))
        rows = [_with_room(vlm, f"{name}.", len(start)) for name in self.classes]
        self.register_buffer("tokens", torch.stack(rows).to(vlm.device), persistent=False)

    def weight(self) -> Tensor:
        """Encode every class behind the context, (K, D) of unit length."""
        with quiet(self.vlm), _in_place_of(self.vlm.token_embedding(), self.context):
            return _encode(self.vlm, self.tokens)

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of unit length to logits (B, K); the text is encoded anew each time."""
        return self.vlm.scale.detach() * feature @ self.weight().T

    def head(self) -> ZeroShot:
        """Encode the text once, as it is now, and make a head that stays so."""
        with torch.no_grad():
            made = ZeroShot(self.vlm, self.weight(), classes=self.classes).eval()
        return marked(made, streams=self.streams)

    def extra_repr(self) -> str:
        """Say what it is in one line."""
        return f"{len(self.context)} context tokens, {len(self.classes)} classes"


def marked(head: Any, *, guarantee: str = "fixed", streams: Sequence[Any] = ()) -> Any:
    """Write on a head what its certificates rest on, and which noise it was fitted on.

    Shapes   none.
    Units    none.
    Returns  the same head.
    Raises   nothing.
    Source   ours: certification reads the two attributes.
    """
    head.guarantee, head.streams = guarantee, tuple(streams)
    return head


def _inner(vlm: VLM, text: str) -> Tensor:
    """The tokens of a text without start, end and padding."""
    empty, row = vlm.tokenize([""])[0], vlm.tokenize([text])[0]
    start, end = int(empty[0]), int(empty[1])
    ends = (row[1:] == end).nonzero()
    if int(row[0]) != start or not len(ends) or start == end:
        raise ValueError(
            f"The 'vlm' parameter of Prompt must have a text tower with start and end tokens; {vlm.name} has none. "
            "Learned prompts work for CLIP and BERT towers."
        )
    return row[1 : 1 + int(ends[0])]


def _with_room(vlm: VLM, text: str, room: int) -> Tensor:
    """The tokens of a text with `room` fillers behind the start; any word that is no special token will do as one."""
    inner, row = _inner(vlm, text), vlm.tokenize([text])[0]
    used = len(inner) + 2
    if used + room > len(row) or not len(inner):
        raise ValueError(
            f"The 'classes' parameter of Prompt must hold names that fit {len(row)} tokens together with {room} of "
            f"context; {text!r} takes {used}. Shorten the name or the context."
        )
    return torch.cat([row[:1], inner[:1].repeat(room), row[1 : len(row) - room]])


@contextmanager
def _in_place_of(embedding: nn.Module, context: Tensor) -> Iterator[None]:
    """Replace what the embedding says of the tokens behind the start."""

    def swap(_module, _given, out: Tensor) -> Tensor:
        middle = context.to(out.dtype).expand(len(out), -1, -1)
        return torch.cat([out[:, :1].detach(), middle, out[:, 1 + len(context) :].detach()], dim=1)

    handle = embedding.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()


class _Text(nn.Module):
    """encode_text as a forward, so that functional_call can shorten what it is made for."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens, normalize=False)


def _encode(vlm: VLM, tokens: Tensor) -> Tensor:
    tower = getattr(vlm.model, "text", vlm.model)
    mask, places = getattr(tower, "attn_mask", None), getattr(tower, "positional_embedding", None)
    if mask is None or places is None or getattr(tower, "cls_emb", None) is not None:
        return vlm.encode_text(tokens)
    # A causal tower never looks ahead: without the columns of padding it says the same in a fraction of the time.
    used = int((tokens != tokens[0, -1]).any(0).nonzero().max()) + 1 if (tokens[:, -1] == tokens[0, -1]).all() else 0
    used = used or tokens.shape[1]
    name = "model.text." if tower is not vlm.model else "model."
    short = {f"{name}attn_mask": mask[:used, :used], f"{name}positional_embedding": places[:used]}
    with autocast(vlm.device, vlm.dtype):
        out = functional_call(_Text(vlm.model), short, (tokens[:, :used],))
    return F.normalize(out.to(vlm.mean.dtype), dim=-1)
