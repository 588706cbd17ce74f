"""Heads: anything that maps pixels to logits (B, K); a classifier made of sentences, and a linear probe."""

from __future__ import annotations

import logging
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._labels import check_scores
from medadv.models.encode import image_features, text_features
from medadv.models.vlm import VLM, check_text

_log = logging.getLogger(__name__)

TEMPLATES = (
    "{}.",
    "a medical image showing {}.",
    "an image of {}.",
    "a medical scan of a patient with {}.",
    "this picture shows {}.",
)


def fit_probe(
    vlm: VLM,
    pairs: Any,
    *,
    C: float = 1.0,
    batch_size: int = 128,
    seed: int = 0,
    max_iter: int = 1000,
    progress: bool = True,
) -> LinearProbe:
    """Fit a linear classifier on frozen image embeddings.

    Shapes   pairs N labelled images of K classes.
    Units    C is the inverse of the penalty, as in scikit-learn, on standardised features.
    Returns  a LinearProbe whose logits are those of the regression; rows without a label (-1) are left out.
    Raises   ValueError if a class has no image, or the model returns NaN.
    Source   Radford et al. 2021, section 3.2; scikit-learn's LogisticRegression, standardisation folded in.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    kept = pairs.select(pairs.labels >= 0)
    label, classes = kept.labels.numpy(), tuple(pairs.classes)
    empty = [name for k, name in enumerate(classes) if not (label == k).any()]
    if empty or len(classes) < 2:
        raise ValueError(
            "The 'pairs' parameter of fit_probe must hold images of two or more classes, and of every class; "
            f"got none of {', '.join(empty) or 'a second class'}. Choose other rows or fewer classes."
        )
    feature = image_features(vlm, kept, batch_size=batch_size, progress=progress).numpy()
    check_scores(feature, "The image embeddings of fit_probe")
    mean, std = feature.mean(axis=0), feature.std(axis=0)
    std = np.where(std > 0, std, 1).astype(np.float32)
    model = LogisticRegression(C=C, max_iter=max_iter, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((feature - mean) / std, label)
    if model.n_iter_.max() >= max_iter:
        _log.warning("the probe had not converged after %d iterations; give it more with max_iter", max_iter)
    weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(classes) == 2:  # one row of log-odds becomes two that differ by it
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.array([-bias[0], bias[0]]) / 2
    bias = bias - (weight / std) @ mean.astype(np.float64)
    probe = LinearProbe(vlm, classes=classes)
    with torch.no_grad():
        probe.linear.weight.copy_(torch.from_numpy(weight / std))
        probe.linear.bias.copy_(torch.from_numpy(bias))
    return probe.eval()


def as_head(head: Any) -> Any:
    """Take a head as it is, and put anything else into a `ForeignHead`.

    Shapes   none.
    Units    none.
    Returns  a Head.
    Raises   nothing.
    Source   ours.
    """
    return head if isinstance(head, Head) else ForeignHead(head)


def width(vlm: VLM) -> int:
    """Find the embedding size D of a model.

    Shapes   none.
    Units    none.
    Returns  D.
    Raises   nothing.
    Source   ours: one short text is embedded.
    """
    return text_features(vlm, ["."]).shape[1]


def _is_code(name: str) -> bool:
    """Whether an ASCII class name holds no word of three letters, or only counts classes."""
    if not name.isascii():
        return False
    counted = re.fullmatch(r"(class|label|category|group|id|no|nr)[ ._-]?\d+", name.strip().lower())
    return bool(counted) or not re.search(r"[A-Za-z]{3}", name)


class Head(nn.Module, ABC):
    """Anything that maps pixels to logits, and what a certificate of it rests on; a subclass writes `forward`.

    Shapes   pixels (B, 3, H, W) -> logits (B, K).
    Units    images in [0, 1], noisy ones beyond.
    Returns  a module. Functions and modules that are no Head serve everywhere too: see `as_head`.
    Raises   nothing.
    Source   ours.
    """

    guarantee: str = "fixed"
    """One of `medadv.certify.votes.GUARANTEES`."""
    streams: tuple[Any, ...] = ()
    """The noise that it was fitted on, which never certifies it."""
    views: int = 0
    """So many noisy copies of each image does it tune itself on, by `at`."""
    copies: int = 0
    """So many further noisy copies is each vote cast on, by `from_copies`."""
    ratio: float = 1.0
    """The noise of these, in units of sigma."""
    parts: int = 1
    """So many votes must all be certified: two for a head that chooses among others."""
    on_embeddings: bool = False
    """Whether it has a `vlm` and votes on its embeddings, which all heads on one model then share."""

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) to logits (B, K)."""

    def single(self) -> Any:
        """Return the head that votes on one noisy copy alone."""
        return self


class EmbeddingHead(Head):
    """A head on the image embeddings of a model; a subclass writes `from_features`.

    Shapes   pixels (B, 3, H, W) -> logits (B, K); embeddings (B, D) of unit length.
    Units    images in [0, 1].
    Returns  a module with `vlm` and `classes`.
    Raises   nothing.
    Source   ours.
    """

    vlm: Any
    classes: tuple[str, ...]
    on_embeddings = True

    @abstractmethod
    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of unit length to logits (B, K)."""

    def ballots(self, feature: Tensor) -> list[Tensor]:
        """Return everything it votes on: the class, or first a route and then the class of each route's head."""
        return [self.from_features(feature)]

    def from_copies(self, feature: Tensor, further: Tensor) -> Tensor:
        """Map embeddings (B, D) and those of further copies (B, T, D) to logits (B, K)."""
        raise NotImplementedError(f"{type(self).__name__} votes on one copy.")

    def at(self, feature: Tensor) -> Any:
        """Tune itself on embeddings (T, D) of noisy copies of an image, and return the head that votes."""
        raise NotImplementedError(f"{type(self).__name__} does not tune itself.")

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) to logits (B, K)."""
        return self.from_features(self.vlm.encode_image(image))


class ForeignHead(EmbeddingHead):
    """A function, or a module that is no `Head`, as one: what it says of itself is asked here and nowhere else.

    Shapes   as EmbeddingHead, where it has `vlm` and one of from_features, ballots and from_copies; else as Head.
    Units    images in [0, 1].
    Returns  a module around it, `inner`.
    Raises   nothing.
    Source   ours.
    """

    def __init__(self, inner: Any):
        super().__init__()
        self.inner, self.vlm = inner, getattr(inner, "vlm", None)
        ways = ("from_features", "ballots", "from_copies")
        self.on_embeddings = self.vlm is not None and any(hasattr(inner, way) for way in ways)
        self.parts = 2 if hasattr(inner, "ballots") else 1
        for name in ("guarantee", "streams", "views", "copies", "ratio"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def single(self) -> Any:
        """Return the head that votes on one noisy copy alone."""
        return self.inner.head if self.copies else self

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of unit length to logits (B, K)."""
        return self.inner.from_features(feature)

    def ballots(self, feature: Tensor) -> list[Tensor]:
        """Return everything it votes on."""
        return self.inner.ballots(feature) if self.parts > 1 else [self.from_features(feature)]

    def from_copies(self, feature: Tensor, further: Tensor) -> Tensor:
        """Map embeddings (B, D) and those of further copies (B, T, D) to logits (B, K)."""
        return self.inner.from_copies(feature, further)

    def at(self, feature: Tensor) -> Any:
        """Tune itself on embeddings (T, D) of noisy copies of an image, and return the head that votes."""
        return self.inner.at(feature)

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) to logits (B, K)."""
        return self.inner(image)


class ZeroShot(EmbeddingHead):
    """A classifier made of sentences: the logit of a class is the scaled cosine between image and text.

    Shapes   pixels (B, 3, H, W) -> logits (B, K); weight (K, D).
    Units    images in [0, 1]; weight of unit length.
    Returns  a module; the text was encoded once and stays as it was when the model is trained further.
    Raises   nothing.
    Source   Radford et al. 2021, section 3.1.4: mean of unit vectors over templates, back to unit length.
    """

    weight: Tensor

    def __init__(self, vlm: VLM, weight: Tensor, *, classes: Sequence[str], templates: Sequence[str] = ()):
        super().__init__()
        self.vlm, self.classes, self.templates = vlm, tuple(classes), tuple(templates)
        self.register_buffer("weight", weight.detach().float().to(vlm.device))

    @classmethod
    def from_prompts(
        cls, vlm: VLM, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES, batch_size: int = 256
    ) -> ZeroShot:
        """Encode every class in every template, once.

        Shapes   K classes; the weight is (K, D).
        Units    none.
        Returns  the head; a class that is a number or a code ("1.0", "C43", "label_3") is logged as a warning.
        Raises   ValueError for no classes, a template without {}, or a model that returns NaN.
        Source   Radford et al. 2021, section 3.1.4.
        """
        classes, templates = check_text(classes, "from_prompts"), check_text(templates, "from_prompts")
        bare = [one for one in templates if "{}" not in one]
        if bare:
            raise ValueError(
                "The 'templates' parameter of from_prompts must each hold {} for the class; "
                f"got {bare[0]!r}. Put it in."
            )
        codes = [name for name in classes if _is_code(name)]
        if codes:
            _log.warning("the class %r is a number or a code, which says nothing to a model: give a phrase", codes[0])
        text = [template.replace("{}", name) for name in classes for template in templates]
        feature = text_features(vlm, text, batch_size=batch_size)
        check_scores(feature, "The text embeddings of from_prompts")
        unit = feature.view(len(classes), len(templates), -1)
        return cls(vlm, F.normalize(unit.mean(dim=1), dim=-1), classes=classes, templates=templates).eval()

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of unit length to logits (B, K)."""
        return self.vlm.scale * feature @ self.weight.T


class LinearProbe(EmbeddingHead):
    """A linear layer on the image embedding; `fit_probe` finds its weights.

    Shapes   pixels (B, 3, H, W) -> logits (B, K).
    Units    images in [0, 1].
    Returns  a module with zero weights.
    Raises   nothing.
    Source   Radford et al. 2021, section 3.2.
    """

    def __init__(self, vlm: VLM, *, classes: Sequence[str]):
        super().__init__()
        self.vlm, self.classes = vlm, tuple(classes)
        self.linear = nn.Linear(width(vlm), len(self.classes)).to(vlm.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def from_features(self, feature: Tensor) -> Tensor:
        """Map embeddings (B, D) of unit length to logits (B, K)."""
        return self.linear(feature)
