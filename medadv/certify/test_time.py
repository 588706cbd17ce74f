"""Heads that tune themselves on the image at hand: as published, and three ways to pay for a sound certificate.

`TestTime` is PromptSmooth's own, certified for the prompt that it froze. In the other three the step is that of
PromptSmooth's zero-shot variant, taken on the class embeddings instead of the context: one sign step down the entropy
of the mean answer (the first AdamW step is a sign step), without a pass of the text tower, so that every single vote
can afford its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv.certify._validate import check_draws
from medadv.certify.promptsmooth import calibrate, descend, few_shot, marginal_entropy, noisy_bank, shots_of
from medadv.models.head import EmbeddingHead, ZeroShot, as_head
from medadv.models.prompt import Prompt, marked

LEARNED = ("few-shot", "calibrated", "combined", "routed")
"""Heads of `prompt_heads` that learn from training images."""
HEADS = ("few-shot", "calibrated", "zero-shot", "combined", "inside", "composed", "routed")
"""All heads that `prompt_heads` makes."""
LEVELS = (0.5, 1.0, 1.5, 2.0)
"""Noise that prompts are trained on, in units of sigma: PromptSmooth's four levels lie so around its second one."""


def prompt_heads(
    prompt: Prompt, train: Any = None, *, wanted: Sequence[str] = HEADS, sigma: float, shots: int = 16, seed: int = 0
) -> dict[str, Any]:
    """Make the smoothed heads of PromptSmooth and its sound relatives from one prompt.

    Shapes   train: labelled images, a data set with `load`, `labels` and `select`; not needed for heads that learn
             nothing.
    Units    sigma in pixel units, the one to certify at; shots of every class.
    Returns  heads by name: "sentences", the prompt as it is, and then those of HEADS that are wanted.
    Raises   ValueError for a name that is none of HEADS, or no training images for one of LEARNED.
    Source   Hussein et al. 2024, arXiv 2408.16769; see `TestTime`, `Inside`, `Composed`, `Routed` and `calibrate`.
    """
    asked = set(wanted)
    if unknown := sorted(asked - set(HEADS)):
        raise ValueError(
            f"The 'wanted' parameter of prompt_heads must hold names of {', '.join(HEADS)}; got {unknown[0]!r}."
        )
    if train is None and (learned_ones := sorted(asked & set(LEARNED))):
        raise ValueError(
            f"The 'train' parameter of prompt_heads must hold labelled images for {learned_ones[0]!r}; got None."
        )
    base, vlm, levels = prompt.head(), prompt.vlm, [share * sigma for share in LEVELS]
    made: dict[str, Any] = {}
    if asked & {"few-shot", "combined", "routed"}:
        rows = shots_of(train.labels, shots, seed=seed)
        learned = few_shot(prompt, noisy_bank(vlm, train.select(rows), sigmas=levels, seed=seed))
        made["few-shot"], made["combined"] = learned.head(), TestTime(learned)
    if asked & {"calibrated", "routed"}:
        few = min(len(train), 20 * len(prompt.classes))
        blind = train.select(sorted(range(0, len(train), max(1, len(train) // few)))[:few])
        made["calibrated"] = calibrate(prompt, noisy_bank(vlm, blind, sigmas=levels, seed=seed)).head()
    if "routed" in asked:
        made["routed"] = Routed([base, made["few-shot"], made["calibrated"]])
    made |= {"zero-shot": TestTime(prompt), "inside": Inside(base), "composed": Composed(base)}
    return {"sentences": base, **{name: made[name] for name in dict.fromkeys(wanted)}}


def entropy_step(weight: Tensor, view: Tensor, *, scale: Tensor | float, lr: float) -> Tensor:
    """Move class embeddings one sign step down the entropy of the mean answer to some views.

    Shapes   weight (K, D) unit length; view (B, T, D) unit length; result (B, K, D) unit length.
    Units    scale is the inverse temperature; lr is the size of the step in every coordinate.
    Returns  class embeddings for each of the B groups of views.
    Raises   nothing.
    Source   the gradient of MEMO's loss (Zhang et al. 2022, arXiv 2110.09506), written out; the sign as the first step
             of Adam (Kingma and Ba 2015) takes it.
    """
    p = (scale * view @ weight.T).softmax(-1)  # (B, T, K)
    slope = -(p.mean(1, keepdim=True).clamp_min(1e-30).log() + 1)  # of the entropy, at each mean probability
    slope = p * (slope - (p * slope).sum(-1, keepdim=True))  # and at each logit
    grad = slope.transpose(1, 2) @ view  # (B, K, D) up to a positive factor
    return F.normalize(weight - lr * grad.sign(), dim=-1)


class TestTime(EmbeddingHead):
    """PromptSmooth's zero-shot variant: before voting, the prompt takes a step on noisy copies of the image at hand.

    Shapes   at(embeddings (T, D)) -> ZeroShot; T = views.
    Units    lr of AdamW: its first step moves every number by about lr, whatever the gradient.
    Returns  a head for `certify`, which hands it copies of the role "adapt". From a learned prompt (few_shot) it is the
             combined variant.
    Raises   ValueError for views or steps below 1.
    Source   Hussein et al. 2024, arXiv 2408.16769: T = 100, marginal entropy, one AdamW step of 5e-3, weight decay
             0.01, reset for every image. Their certificate is that of the prompt frozen at x. Shown another image, the
             system would choose another prompt, and nothing ties the two: hence the guarantee's name.
    """

    __test__ = False  # pytest takes names with Test for its own
    guarantee = "prompt-frozen-at-x"

    def __init__(self, prompt: Prompt, *, views: int = 100, steps: int = 1, lr: float = 5e-3):
        super().__init__()
        self.prompt, self.vlm, self.classes = prompt, prompt.vlm, prompt.classes
        self.views, self.steps = check_draws(views, "TestTime", "views"), check_draws(steps, "TestTime", "steps")
        self.lr, self.streams = lr, prompt.streams

    def at(self, feature: Tensor) -> ZeroShot:
        """Tune a copy of the prompt on embeddings of noisy copies, and freeze it."""
        learned = descend(
            self.prompt,
            lambda prompt, _: marginal_entropy(prompt.from_features(feature)),
            steps=self.steps,
            lr=self.lr,
            streams=self.streams,
        )
        return marked(learned.head(), guarantee=self.guarantee, streams=self.streams)

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of one image's noisy copies to logits (B, K), tuned on these copies."""
        return self.at(feature.detach()).from_features(feature)


class Inside(EmbeddingHead):
    """Tune within each vote, on that vote's noisy copy alone: the copy decides everything, so the theorem holds.

    Shapes   from_features: embeddings (B, D) -> logits (B, K).
    Units    lr in coordinates of unit vectors.
    Returns  a head for `certify`; radius sigma * z(p), as for any base classifier.
    Raises   nothing.
    Source   ours. Cohen et al. 2019 allow any base classifier, one that tunes itself included.
    """

    guarantee = "random-base"

    def __init__(self, head: ZeroShot, *, lr: float = 5e-3):
        super().__init__()
        self.head, self.vlm, self.classes, self.lr = head, head.vlm, head.classes, lr
        self.streams = as_head(head).streams

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) to logits (B, K), each row by its own step."""
        own = entropy_step(self.head.weight, feature[:, None], scale=self.vlm.scale, lr=self.lr)
        return self.vlm.scale * (own @ feature[:, :, None])[:, :, 0]


class Composed(EmbeddingHead):
    """Tune within each vote on fresh copies, and pay for all of them: the radius shrinks by the noise that leaks.

    Shapes   from_copies: embeddings (B, D) and further ones (B, T, D) -> logits (B, K); T = copies.
    Units    the further copies have noise ratio * sigma; lr in coordinates of unit vectors.
    Returns  a head for `certify`; radius s * z(p) with 1 / s**2 = 1 / sigma**2 + T / (ratio * sigma)**2.
    Raises   ValueError for copies below 1 or a ratio that is not positive.
    Source   composition of Gaussian mechanisms, as in Lyu et al. 2024, arXiv 2406.10427. PromptSmooth's one set of
             copies for all votes is not covered: here every vote draws its own.
    """

    guarantee = "composed"

    def __init__(self, head: ZeroShot, *, copies: int = 1, ratio: float = 2.0, lr: float = 5e-3):
        super().__init__()
        self.head, self.vlm, self.classes, self.lr = head, head.vlm, head.classes, lr
        self.copies, self.ratio = check_draws(copies, "Composed", "copies"), float(ratio)
        self.streams = as_head(head).streams
        if not self.ratio > 0:
            raise ValueError(f"The 'ratio' parameter of Composed must be positive; got {ratio}. 2 doubles the noise.")

    def from_copies(self, feature: Tensor, further: Tensor) -> Tensor:
        """Map embeddings (B, D) to logits (B, K), tuned on the further copies of each vote."""
        own = entropy_step(self.head.weight, further, scale=self.vlm.scale, lr=self.lr)
        return self.vlm.scale * (own @ feature[:, :, None])[:, :, 0]

    def single(self) -> ZeroShot:
        """Return the head that is tuned within each vote."""
        return self.head

    def from_features(self, feature: Tensor) -> Tensor:
        """Refuse: a vote needs several copies of one image."""
        raise TypeError("Composed votes on several copies at once. Give it to certify or predict.")


class Routed(EmbeddingHead):
    """Choose among heads fixed in advance: the choice is smoothed and certified as the class is.

    Shapes   ballots: embeddings (B, D) -> route scores (B, M), then logits (B, K) of each of the M heads.
    Units    none.
    Returns  a head for `certify`; route and class each at half of alpha, and the smaller of the two radii.
    Raises   ValueError for fewer than two heads, heads of several models or of other classes.
    Source   ours: two CERTIFY statements on the same votes, joined by a union bound. The score of a route is the
             negative entropy of its head's answer, the zero-shot loss of PromptSmooth for a single copy.
    """

    guarantee, parts = "routed", 2

    def __init__(self, heads: Sequence[ZeroShot]):
        super().__init__()
        if len(heads) < 2 or len({(id(head.vlm), head.classes) for head in heads}) > 1:
            raise ValueError(
                f"The 'heads' parameter of Routed must be two or more heads of one model and its classes; got "
                f"{len(heads)}. Make them with ZeroShot.from_prompts or Prompt.head."
            )
        self.heads: Any = nn.ModuleList(heads)
        self.vlm, self.classes = heads[0].vlm, heads[0].classes
        self.streams = tuple(dict.fromkeys(s for head in heads for s in as_head(head).streams))

    def ballots(self, feature: Tensor) -> list[Tensor]:
        """Return the votes on the route, and those of every head."""
        logits = [head.from_features(feature) for head in self.heads]
        route = torch.stack([(one.softmax(1) * one.log_softmax(1)).sum(1) for one in logits], 1)
        return [route, *logits]

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) to logits (B, K) of each copy's own route."""
        route, *logits = self.ballots(feature)
        return torch.stack(logits, 1)[torch.arange(len(feature)), route.argmax(1)]
