"""Attacks on image-text pairs: pixels and words change together, so that images and texts no longer find each other.

The attack on words is an argument, `text_attack(want, text) -> TextResult`, whose `want` judges embeddings of texts:

    def text_attack(want, text):
        sources = [synonyms(), misspellings(0)]
        return swap_words(want, text, TextThreat(1), encode=vlm.encode_text, sources=sources, stop=False)

With stop=False the strongest words are taken even where weaker ones, or none, would do: they have to guide the image,
and to hold against galleries and models that the attack has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv.attacks._meeting import Meeting, PairsResult, TextAttack, same
from medadv.objective import Objective, pairs
from medadv.threat import Threat
from medadv.types import Score

__all__ = ["PairsResult", "TextAttack", "co_attack", "separate", "sga"]


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
    meeting = Meeting(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not len(image):
        return meeting.nothing()
    with meeting:
        seen, told = meeting.see(image), meeting.read(meeting.text)
        want = pairs(vlm.encode_image, told, meeting.own)
        moved = meeting.climb(want, steps=steps, step=step, stop=stop, generator=generator)
        words = meeting.reword(pairs(same, seen, meeting.own.T))
        return meeting.result(moved, words, meeting.see(moved))


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
    meeting = Meeting(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not len(image):
        return meeting.nothing()
    step = 1.25 * threat.eps / max(steps, 1) if step is None else step
    with meeting:
        own, seen = meeting.own, meeting.see(image)
        words = meeting.reword(_leave(same, seen, own.T, (1.0, _mean_log(seen, own.T))))
        told = meeting.read(words.text)
        guide = own if together else _first(meeting.owner, own)
        want = _leave(vlm.encode_image, told, own, (1.0, seen.log_softmax(1)), (alpha, _mean_log(told, guide)))
        moved = meeting.climb(want, steps=steps, step=step, stop=stop, generator=generator)
        seen = meeting.see(moved)
        words = meeting.reword(_leave(same, seen, own.T, (1.0, _mean_log(seen, own.T))))
        return meeting.result(moved, words, seen)


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
    meeting = Meeting(vlm, image, text, threat, text_attack=text_attack, owner=owner, own=own, batch_size=batch_size)
    if not all(scale > 0 for scale in scales) or not noise >= 0:
        raise ValueError(
            f"The 'scales' parameter of sga must be above 0, and 'noise' at least 0; got {tuple(scales)} and {noise}. "
            "Leave them out for the published ones."
        )
    if not len(image):
        return meeting.nothing()
    step = threat.eps / 4 if step is None else step
    with meeting:
        words = meeting.reword(pairs(same, meeting.see(image), meeting.own.T))
        want = _at_scales(vlm.encode_image, meeting.read(words.text), meeting.own, scales, noise, generator)
        how: dict[str, Any] = {"steps": steps, "step": step, "stop": stop, "generator": generator}
        moved = meeting.climb(want, views=1 + len(scales), **how)
        seen = meeting.see(moved)
        words = meeting.reword(pairs(same, seen, meeting.own.T))
        return meeting.result(moved, words, seen)


def _at_scales(encode, told: Tensor, own: Tensor, scales, noise: float, generator) -> Objective:
    """The cosine to all own texts, summed over the image and its noisy, rescaled copies, in one pass."""
    plain = pairs(encode, told, own)
    judge = pairs(same, told, own).judge

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
    judge = pairs(same, other, own).judge

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
