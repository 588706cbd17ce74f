"""What every attack on pairs shares: images and texts in front of one model, who belongs to whom, and the account."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medadv._alike import reads_like_own
from medadv._finite import check_finite
from medadv._quiet import quiet
from medadv.attacks.gradient import pgd
from medadv.objective import Objective, pairs
from medadv.threat import Threat
from medadv.types import Cost

if TYPE_CHECKING:
    from medadv.attacks.text import TextResult

TextAttack = Callable[[Objective, list[str]], "TextResult"]
"""Takes what is wanted of the embeddings of M texts, and the texts; returns a TextResult."""


@dataclass(frozen=True)
class PairsResult:
    """What an attack on B images and their M texts found; success is judged with all images and all texts changed."""

    image: Tensor
    """(B, 3, H, W) in [0, 1]."""
    text: list[str]
    """M texts."""
    image_won: Tensor
    """(B,) bool: some text that is not its own is at least as near as the nearest of its own."""
    text_won: Tensor
    """(M,) bool: the same for texts among the images."""
    words: TextResult | None = None
    """The TextResult of the last attack on words: edits, refused, similarity, kept. None for an empty batch."""
    cost: Cost = Cost()
    early_stop: bool = False
    """Whether the attack on the images stopped where they had lost all their texts; of the words `words` says it."""

    def __repr__(self) -> str:
        c = self.cost
        return (
            f"PairsResult({int(self.image_won.sum())}/{len(self.image)} images and {int(self.text_won.sum())}/"
            f"{len(self.text)} texts won, {c.forwards}+{c.backwards} passes, {c.seconds:.1f} s)"
        )


class Meeting:
    """Images and texts before one model, each text encoded once a stage. The model stays in eval mode meanwhile."""

    def __init__(
        self,
        vlm: Any,
        image: Tensor,
        text: Sequence[str],
        threat: Threat,
        *,
        text_attack: TextAttack,
        owner: Tensor | None,
        own: Tensor | None,
        batch_size: int,
    ):
        self.image, self.text, self.threat = threat.check(image), list(text), threat
        if isinstance(text, str) or not all(isinstance(one, str) for one in self.text):
            raise ValueError("The 'text' parameter of an attack on pairs must be a list of str; got something else.")
        if batch_size < 1:
            raise ValueError(f"The 'batch_size' parameter of an attack must be at least 1; got {batch_size}.")
        self.owner = _owner(owner, len(self.text), len(image)).to(image.device)
        self._vlm, self._attack, self._batch_size = vlm, text_attack, batch_size
        self._by_words = own is None
        self.own = (self._alike(self.text) if own is None else _own(own, self)).to(image.device)
        self._costs: list[Cost] = []
        self._stop = False

    def __enter__(self) -> Meeting:
        self._began = time.perf_counter()
        # What is made under inference_mode cannot stand beside a gradient later.
        self._context = ExitStack()
        for one in (torch.inference_mode(False), torch.no_grad(), quiet(self._vlm)):
            self._context.enter_context(one)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    def see(self, image: Tensor) -> Tensor:
        """Embeddings of images (B, D)."""
        self._costs.append(Cost(forwards=len(image)))
        found = torch.cat([self._vlm.encode_image(part).float() for part in image.split(self._batch_size)])
        return check_finite(found, "The image embeddings of an attack on pairs", rows="images")

    def read(self, text: list[str]) -> Tensor:
        """Embeddings of texts (M, D)."""
        self._costs.append(Cost(text_forwards=len(text)))
        size = self._batch_size
        parts = [self._vlm.encode_text(text[i : i + size]).float() for i in range(0, len(text), size)]
        return check_finite(torch.cat(parts), "The text embeddings of an attack on pairs", rows="texts")

    def reword(self, want: Objective) -> TextResult:
        """Attack the clean texts; what is wanted is asked of their embeddings. Always from the start: the budget of
        words is one for the whole attack."""
        words = self._attack(want, list(self.text))
        self._costs.append(words.cost)
        return words

    def climb(
        self,
        want: Objective,
        *,
        steps: int,
        step: float | None = None,
        views: int = 1,
        stop: bool = False,
        **how: Any,
    ) -> Tensor:
        """Attack the clean images by projected gradient, as many at a time as fit; `views` passes for each image."""
        if step is None and steps > 0:  # what the papers of these attacks take, not pgd's own default
            step = 2.5 * self.threat.eps / steps
        rows = torch.arange(len(self.image), device=self.image.device)
        found, self._stop = [], stop
        for part in rows.split(max(self._batch_size // views, 1)):
            part_image = self.image[part]
            found.append(pgd(want.keep(part), part_image, self.threat, steps=steps, step=step, stop=stop, **how))
            cost = found[-1].cost
            self._costs.append(Cost(cost.forwards * views, cost.backwards * views))
        return torch.cat([one.image for one in found])

    def result(self, image: Tensor, words: TextResult, seen: Tensor) -> PairsResult:
        """Judge changed images and changed texts against each other."""
        told, own = self.read(words.text), self.own
        if self._by_words:  # changed words may run into those of somebody else, who is right then too
            own = own | self._alike(words.text).to(own.device)
        image_won, text_won = pairs(same, told, own)(seen).won, pairs(same, seen, own.T)(told).won
        total = [sum(column) for column in zip(*self._costs, strict=True)]
        cost = Cost(int(total[0]), int(total[1]), int(total[2]), time.perf_counter() - self._began)
        return PairsResult(image, list(words.text), image_won, text_won, words, cost, self._stop)

    def nothing(self) -> PairsResult:
        """The result for no images and no texts."""
        none = torch.zeros(0, dtype=torch.bool, device=self.image.device)
        return PairsResult(self.image, [], none, none)

    def _alike(self, text: list[str]) -> Tensor:
        """Which texts read the same as one of an image's own: they are embedded the same, so they must count alike."""
        return reads_like_own(text, self.owner.cpu(), len(self.image), getattr(self._vlm, "tokenizer", None))


def same(embedding: Tensor) -> Tensor:
    """The identity: objectives over it judge embeddings."""
    return embedding


def _owner(owner: Tensor | None, texts: int, images: int) -> Tensor:
    if owner is None and texts == images:
        return torch.arange(images)
    owner = torch.as_tensor([] if owner is None else owner)
    owner = owner if len(owner) else owner.long()
    right = owner.shape == (texts,) and not owner.is_floating_point()
    if not right or (texts and not 0 <= int(owner.min()) <= int(owner.max()) < images):
        raise ValueError(
            f"The 'owner' parameter of an attack on pairs must be ({texts},) image numbers below {images}; got shape "
            f"{tuple(owner.shape)}. Pass the number of the image each text was written for."
        )
    lonely = images - len(owner.unique())
    if lonely:
        raise ValueError(
            f"The 'owner' parameter of an attack on pairs must give every image a text; got {lonely} without. "
            "Leave those images out."
        )
    return owner


def _own(own: Tensor, meeting: Meeting) -> Tensor:
    shape = (len(meeting.image), len(meeting.text))
    own = torch.as_tensor(own)
    if own.dtype != torch.bool or own.shape != shape:
        raise ValueError(
            f"The 'own' parameter of an attack on pairs must be {shape} bool, images by texts; got {own.dtype} "
            f"{tuple(own.shape)}. Leave it out, or mark the texts that are right for each image."
        )
    return own | (meeting.owner.cpu() == torch.arange(shape[0])[:, None]).to(own.device)
