"""Baselines: classifiers that know no medicine, which every model must beat, and a probe that is used to noise."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medadv._images import resize
from medadv.certify.promptsmooth import noisy_bank
from medadv.data.pairs import Pairs
from medadv.models import VLM, LinearProbe
from medadv.models.prompt import marked

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def mean_colour(image: Tensor) -> Tensor:
    """Describe a picture by its mean red, green and blue.

    Shapes   image (B, 3, H, W); result (B, 3).
    Units    [0, 1].
    Returns  float tensor.
    Raises   nothing.
    Source   ours.
    """
    return image.mean(dim=(2, 3))


def small_pixels(image: Tensor, *, size: int = 32) -> Tensor:
    """Describe a picture by its pixels at a small size.

    Shapes   image (B, 3, H, W); result (B, 3 * size * size).
    Units    pixels in [0, 1], up to the overshoot of bicubic interpolation.
    Returns  float tensor.
    Raises   nothing.
    Source   ours.
    """
    return resize(image, size).flatten(1)


def colour_texture(image: Tensor) -> Tensor:
    """Describe a picture by hand: how its colours are distributed, and how strong its edges are at two scales.

    Shapes   image (B, 3, H, W); result (B, F).
    Units    five quantiles of red, green, blue, saturation and edge strength, over the picture and its centre.
    Returns  float tensor.
    Raises   nothing.
    Source   ours; the kind of features used on skin lesions before deep learning.
    """
    low, high = image.amin(1, keepdim=True), image.amax(1, keepdim=True)
    channels = [image, (high - low) / high.clamp_min(1e-3)]
    for scale in (1, 4):
        grey = F.avg_pool2d(image.mean(1, keepdim=True), scale)
        down, across = grey.diff(dim=2)[..., :, 1:].abs(), grey.diff(dim=3)[..., 1:, :].abs()
        channels.append(F.interpolate(down + across, image.shape[-2:]))
    every = torch.cat(channels, dim=1)
    tall, wide = (side // 4 for side in image.shape[-2:])
    shares = torch.tensor(_SHARES, dtype=image.dtype, device=image.device)
    views = (every, every[..., tall:-tall, wide:-wide])
    return torch.cat([view.flatten(2).quantile(shares, dim=2).movedim(0, 2).flatten(1) for view in views], dim=1)


def fit_linear(
    feature: Tensor, label: Tensor, other: Tensor, *, classes: int, C: float = 1.0, max_iter: int = 300
) -> Tensor:
    """Fit a linear classifier on features and score other images.

    Shapes   feature (B, F), label (B,), other (N, F); result (N, classes).
    Units    C is the inverse of the penalty on standardised features.
    Returns  log-probabilities; a class without an image gets a very small one.
    Raises   nothing.
    Source   scikit-learn's LogisticRegression.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(feature.numpy(), label.numpy())
    share = model.predict_proba(other.numpy())
    return _all_classes(np.log(np.clip(share, 1e-8, 1)), model.classes_, classes)


def fit_forest(
    feature: Tensor, label: Tensor, other: Tensor, *, classes: int, trees: int = 500, seed: int = 0
) -> Tensor:
    """Fit a random forest on features and score other images.

    Shapes   feature (B, F), label (B,), other (N, F); result (N, classes).
    Units    none.
    Returns  log-probabilities; a class without an image gets a very small one.
    Raises   nothing.
    Source   scikit-learn's RandomForestClassifier with balanced classes.
    """
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(trees, class_weight="balanced", min_samples_leaf=3, random_state=seed)
    model.fit(feature.numpy(), label.numpy())
    share = model.predict_proba(other.numpy())
    return _all_classes(np.log(np.clip(share, 1e-6, 1)), model.classes_, classes)


def noisy_probe(
    vlm: VLM, pairs: Pairs, *, sigma: float, copies: int = 4, C: float = 0.1, seed: int = 100, max_iter: int = 200
) -> LinearProbe:
    """Fit a linear classifier on the embeddings of noisy images: the cheapest way to get used to noise.

    Shapes   pairs N labelled images of K classes, each embedded `copies` times.
    Units    sigma in pixel units; C is the inverse of the penalty on standardised features.
    Returns  a LinearProbe that remembers its noise in `streams`, so that `certify` refuses to use that again.
    Raises   ValueError if a class has no image.
    Source   Gaussian augmentation, Lecuyer et al. 2019, arXiv 1802.03471, on a frozen tower.
    """
    from sklearn.linear_model import LogisticRegression

    bank = noisy_bank(vlm, pairs, sigmas=(sigma,), copies=copies, seed=seed, progress=False)
    feature = bank.feature.flatten(0, 1).numpy()
    label = bank.label.repeat_interleave(copies).numpy()
    if len(np.unique(label)) < len(pairs.classes) or len(pairs.classes) < 3:
        raise ValueError("The 'pairs' parameter of noisy_probe must show every class, of three or more. Take more.")
    mean, std = feature.mean(0), feature.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge: the penalty is not chosen either
        model = LogisticRegression(C=C, max_iter=max_iter).fit((feature - mean) / std, label)
    weight = model.coef_ / std
    probe = LinearProbe(vlm, classes=pairs.classes)
    with torch.no_grad():
        probe.linear.weight.copy_(torch.from_numpy(weight))
        probe.linear.bias.copy_(torch.from_numpy(model.intercept_ - weight @ mean))
    return marked(probe.eval(), streams=bank.streams)


def _all_classes(output: np.ndarray, known: np.ndarray, classes: int) -> Tensor:
    whole = np.full((len(output), classes), -20.0)
    whole[:, known] = output
    return torch.from_numpy(whole).float()
