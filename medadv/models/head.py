"""Heads: anything that maps pixels to logits (B, K). A classifier made of sentences, and a linear probe."""

from __future__ import annotations

import logging
import re
import warnings
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


class ZeroShot(nn.Module):
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

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) to logits (B, K)."""
        return self.from_features(self.vlm.encode_image(image))


class LinearProbe(nn.Module):
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

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) to logits (B, K)."""
        return self.from_features(self.vlm.encode_image(image))
