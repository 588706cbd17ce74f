"""Attacks on image-text pairs: pixels and words change together, so that images and texts no longer find each other.

The attack on words is an argument, `text_attack(want, text) -> TextResult`, whose `want` judges embeddings of texts:

    def text_attack(want, text):
        sources = [synonyms(), misspellings(0)]
        return swap_words(want, text, TextThreat(1), encode=vlm.encode_text, sources=sources, stop=False)

With stop=False the strongest words are taken even where weaker ones, or none, would do: they have to guide the image,
and to hold against galleries and models that the attack has not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._alike import reads_like_own
from medadv._finite import check_finite
from medadv._quiet import quiet
from medadv.attacks.gradient import pgd
from medadv.attacks.text import TextResult
from medadv.objective import Objective, pairs
from medadv.threat import Threat
from medadv.types import Cost, Score

__all__ = ["PairsResult", "TextAttack", "co_attack", "separate", "sga"]


TextAttack = Callable[[Objective, list[str]], TextResult]
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


def separate(
    vlm: Any,
    image: Tensor,
    text: Sequence[str],
    threat: Threat,
    *,
    text_attack: TextAttack,
    owner: Tensor | None = None,
    own: Tensor | None = None,
    steps: int = 10,
    step: float | None = None,
    stop: bool = False,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> PairsResult:
    """Attack the images against the clean texts and the texts against the clean images, each as if alone.

    Shapes   image (B, 3, H, W), M texts; owner (M,) the image each text was written for (one each where None); own
             (B, M) bool, the texts that are right for an image: where None, those that read like one of its own.
    Units    threat.eps and step in pixel units, step 2.5 eps / steps unless told; batch_size images or texts a pass.
    Returns  PairsResult. With stop=True images that have lost all their texts stop; for transfer leave it False.
    Raises   ValueError if a text belongs to no image, an image has no text, pixels leave [0, 1], or the model's
             embeddings are NaN or infinite.
    Source   the baseline Sep-Attack of Zhang et al. 2022, arXiv 2206.09391. Differs: images are driven from all
             their texts at once, and the best of the points visited is returned.
    """
    attack = _PairAttack(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not len(image):
        return attack.nothing()
    with attack:
        seen, told = attack.embed_images(image), attack.embed_texts(attack.text)
        want = pairs(vlm.encode_image, told, attack.own)
        moved = attack.attack_images(want, steps=steps, step=step, stop=stop, generator=generator)
        words = attack.attack_text(pairs(_same, seen, attack.own.T))
        return attack.result(moved, words, attack.embed_images(moved))


def co_attack(
    vlm: Any,
    image: Tensor,
    text: Sequence[str],
    threat: Threat,
    *,
    text_attack: TextAttack,
    owner: Tensor | None = None,
    own: Tensor | None = None,
    alpha: float = 3.0,
    together: bool = False,
    steps: int = 10,
    step: float | None = None,
    stop: bool = False,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> PairsResult:
    """Drive each image away from itself and from its changed text, then the text away from the changed image.

    Shapes   as `separate`.
    Units    threat.eps and step in pixel units, step 1.25 eps / steps unless told; alpha weighs the term of the text.
    Returns  PairsResult. The image is guided by the first of its texts, as published, or by all with together=True.
    Raises   ValueError as `separate`.
    Source   Zhang et al. 2022 (Co-Attack), arXiv 2206.09391, the attack on unimodal embeddings: KL divergence of the
             softmax of the adversarial embedding from that of the clean one, plus alpha times that from the text's.
             Differs: the random start lies on both sides of the clean image, not in [0, eps] alone; the gradient
             goes to the pixels only; the best of the points visited is returned.
    """
    attack = _PairAttack(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not len(image):
        return attack.nothing()
    step = 1.25 * threat.eps / max(steps, 1) if step is None else step
    with attack:
        own, seen = attack.own, attack.embed_images(image)
        words = attack.attack_text(_leave(_same, seen, own.T, (1.0, _mean_log(seen, own.T))))
        told = attack.embed_texts(words.text)
        guide = own if together else _first(attack.owner, own)
        want = _leave(vlm.encode_image, told, own, (1.0, seen.log_softmax(1)), (alpha, _mean_log(told, guide)))
        moved = attack.attack_images(want, steps=steps, step=step, stop=stop, generator=generator)
        seen = attack.embed_images(moved)
        words = attack.attack_text(_leave(_same, seen, own.T, (1.0, _mean_log(seen, own.T))))
        return attack.result(moved, words, seen)


def sga(
    vlm: Any,
    image: Tensor,
    text: Sequence[str],
    threat: Threat,
    *,
    text_attack: TextAttack,
    owner: Tensor | None = None,
    own: Tensor | None = None,
    scales: Sequence[float] = (0.5, 0.75, 1.25, 1.5),
    noise: float = 0.05,
    steps: int = 10,
    step: float | None = None,
    stop: bool = False,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> PairsResult:
    """Drive each image, seen at several scales, away from all its changed texts, then the texts from the changed image.

    Shapes   as `separate`; all scales of an image share a pass and count as so many images of its batch_size.
    Units    threat.eps, step and noise (a standard deviation) in pixel units; step eps / 4 unless told. Published
             with linf:2/255, ten steps of 0.5/255 and one word.
    Returns  PairsResult; the last attack on words starts at the clean texts again, so that the budget holds.
    Raises   ValueError as `separate`, or if a scale is not above 0.
    Source   Lu et al. 2023 (SGA), arXiv 2307.14061, section 4; the image as it is counts as one more scale. Differs:
             the mean over an image's texts for the sum; scaled images are cut to [0, 1] once more when they are back
             at their size; texts are never cut at 30 tokens; the best of the points visited is returned.
    """
    attack = _PairAttack(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not all(scale > 0 for scale in scales) or not noise >= 0:
        raise ValueError(
            f"The 'scales' parameter of sga must be above 0, and 'noise' at least 0; got {tuple(scales)} and {noise}. "
            "Leave them out for the published ones."
        )
    if not len(image):
        return attack.nothing()
    step = threat.eps / 4 if step is None else step
    with attack:
        words = attack.attack_text(pairs(_same, attack.embed_images(image), attack.own.T))
        want = _at_scales(vlm.encode_image, attack.embed_texts(words.text), attack.own, scales, noise, generator)
        how: dict[str, Any] = {"steps": steps, "step": step, "stop": stop, "generator": generator}
        moved = attack.attack_images(want, views=1 + len(scales), **how)
        seen = attack.embed_images(moved)
        words = attack.attack_text(pairs(_same, seen, attack.own.T))
        return attack.result(moved, words, seen)


def _at_scales(encode, told: Tensor, own: Tensor, scales, noise: float, generator) -> Objective:
    """The cosine to all own texts, summed over the image and its noisy, rescaled copies, in one pass."""
    plain = pairs(encode, told, own)
    judge = pairs(_same, told, own).judge

    def at_scales(image: Tensor, own: Tensor) -> Score:
        views = [image, *(_rescaled(image, scale, noise, generator) for scale in scales)]
        seen = encode(torch.cat(views)).float().view(len(views), len(image), -1)
        # The cosine is linear in the embedding, so the sum over scales is the cosine of the sum.
        return Score(judge(seen.sum(0), own).loss, judge(seen[0], own).won)

    return Objective(at_scales, plain.rows, plain.models)


def _rescaled(image: Tensor, scale: float, noise: float, generator: torch.Generator | None) -> Tensor:
    size = image.shape[-2:]
    small = (max(int(scale * size[0]), 1), max(int(scale * size[1]), 1))
    draw = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    there = _to_size(image + noise * draw, small).clamp(0, 1)
    return _to_size(there, size).clamp(0, 1)  # bicubic overshoots, and a model is shown pixels only


def _to_size(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image, tuple(size), mode="bicubic", antialias=True, align_corners=False)


def _leave(encode: Callable[[Tensor], Tensor], other: Tensor, own: Tensor, *anchors: tuple[float, Tensor]) -> Objective:
    """Want the softmax of an embedding far from anchors, by weighted KL divergences; won as in `pairs`."""
    weights, logs = zip(*anchors, strict=True)
    found = pairs(encode, other, own)
    judge = pairs(_same, other, own).judge

    def leave(image: Tensor, own: Tensor, *logs: Tensor) -> Score:
        seen = encode(image).float()
        log = seen.log_softmax(1)
        away = [weight * (log.exp() * (log - anchor)).sum(1) for weight, anchor in zip(weights, logs, strict=True)]
        return Score(torch.stack(away).sum(0), judge(seen, own).won)

    return Objective(leave, (own, *logs), found.models)


def _mean_log(other: Tensor, own: Tensor) -> Tensor:
    """The mean over the own ones: KL is linear in the anchor's logarithm, so one anchor stands for the whole set."""
    weight = own.to(other.dtype)
    return (weight @ other.log_softmax(1)) / weight.sum(1, keepdim=True)


def _first(owner: Tensor, own: Tensor) -> Tensor:
    """Of each image's texts the first that was written for it."""
    written = owner == torch.arange(len(own), device=owner.device)[:, None]
    return F.one_hot(written.int().argmax(1), own.shape[1]).bool()


class _PairAttack:
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
        self._vlm, self._text_attack, self._batch_size = vlm, text_attack, batch_size
        self._by_words = own is None
        self.own = (self._alike(self.text) if own is None else _own(own, self)).to(image.device)
        self._costs: list[Cost] = []
        self._stop = False

    def __enter__(self) -> _PairAttack:
        self._began = time.perf_counter()
        # What is made under inference_mode cannot stand beside a gradient later.
        self._context = ExitStack()
        for one in (torch.inference_mode(False), torch.no_grad(), quiet(self._vlm)):
            self._context.enter_context(one)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    def embed_images(self, image: Tensor) -> Tensor:
        """Embeddings of images (B, D)."""
        self._costs.append(Cost(forwards=len(image)))
        found = torch.cat([self._vlm.encode_image(part).float() for part in image.split(self._batch_size)])
        return check_finite(found, "The image embeddings of an attack on pairs", rows="images")

    def embed_texts(self, text: list[str]) -> Tensor:
        """Embeddings of texts (M, D)."""
        self._costs.append(Cost(text_forwards=len(text)))
        size = self._batch_size
        parts = [self._vlm.encode_text(text[i : i + size]).float() for i in range(0, len(text), size)]
        return check_finite(torch.cat(parts), "The text embeddings of an attack on pairs", rows="texts")

    def attack_text(self, want: Objective) -> TextResult:
        """Attack the clean texts; what is wanted is asked of their embeddings. Always from the start: the budget of
        words is one for the whole attack."""
        words = self._text_attack(want, list(self.text))
        self._costs.append(words.cost)
        return words

    def attack_images(
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
        told, own = self.embed_texts(words.text), self.own
        if self._by_words:  # changed words may run into those of somebody else, who is right then too
            own = own | self._alike(words.text).to(own.device)
        image_won, text_won = pairs(_same, told, own)(seen).won, pairs(_same, seen, own.T)(told).won
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


def _same(embedding: Tensor) -> Tensor:
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


def _own(own: Tensor, attack: _PairAttack) -> Tensor:
    shape = (len(attack.image), len(attack.text))
    own = torch.as_tensor(own)
    if own.dtype != torch.bool or own.shape != shape:
        raise ValueError(
            f"The 'own' parameter of an attack on pairs must be {shape} bool, images by texts; got {own.dtype} "
            f"{tuple(own.shape)}. Leave it out, or mark the texts that are right for each image."
        )
    return own | (attack.owner.cpu() == torch.arange(shape[0])[:, None]).to(own.device)
