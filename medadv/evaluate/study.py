"""Whole evaluations in one call: a model, data, and out comes a Report with an interval in every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medadv._labels import as_logits, check_scores
from medadv._quiet import quiet
from medadv.data.pairs import Pairs
from medadv.evaluate._entry import check_classes, place_of
from medadv.evaluate.metrics import (
    accuracy,
    auc,
    balanced_accuracy,
    macro_auc,
    recall_at_k,
)
from medadv.evaluate.report import Report, provenance, stored
from medadv.models.encode import image_features, text_features
from medadv.models.vlm import VLM


def predict(head: nn.Module, pairs: Pairs, *, batch_size: int = 128, progress: bool = False) -> Tensor:
    """Run a classifier over a data set.

    Shapes   head maps pixels (B, 3, H, W) to logits (B, K), or to one logit (B,) or (B, 1) of class 1 against class 0,
             which become the two logits 0 and z; result (N, K) for the N rows of the data.
    Units    logits.
    Returns  float32 tensor on the CPU, in the order of the rows.
    Raises   ValueError if the head does not return logits, or returns NaN; whatever loading an image raises.
    Source   ours.
    """
    place, parts = place_of(head), []
    with quiet(head), torch.inference_mode():
        for batch in pairs.batches(batch_size, progress=progress):
            logits = as_logits(head(batch.image.to(place)), len(batch), "predict").cpu()
            check_scores(logits, "The logits that 'head' gives in predict", rows=batch.index.tolist())
            parts.append(logits)
    return torch.cat(parts)


def head_report(
    head: nn.Module,
    pairs: Pairs,
    *,
    batch_size: int = 128,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool = False,
) -> Report:
    """Run a classifier over a data set and turn its logits into a table.

    Shapes   head maps pixels (B, 3, H, W) to logits (B, K), K the number of classes of the data.
    Units    proportions and areas.
    Returns  Report as `classify_report`.
    Raises   ValueError if head and data differ in the number of classes, the data have one class only or no row has
             a label, or the head returns NaN.
    Source   ours.
    """
    check_classes(pairs, "head_report")
    output = predict(head, pairs, batch_size=batch_size, progress=progress)
    made = provenance(seed=seed, device=place_of(head))
    return classify_report(output, pairs, settings=settings, seed=seed, versions=made)


def classify_report(
    output: Tensor | np.ndarray,
    pairs: Pairs,
    *,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    n: int = 1000,
    versions: dict[str, Any] | None = None,
) -> Report:
    """Turn the logits of a data set into a table.

    Shapes   output (N, K), one row for each row of the data.
    Units    proportions and areas.
    Returns  Report: accuracy, balanced accuracy, macro AUC, then sensitivity and AUC of each class; patients
             are resampled as a whole where they have several images.
    Raises   ValueError if no row has a label, the data have one class only, or an output is NaN.
    Source   ours.
    """
    check_classes(pairs, "classify_report")
    label, output = pairs.labels.numpy(), np.asarray(output, dtype=np.float64)
    if output.shape != (len(pairs), len(pairs.classes)):
        raise ValueError(
            f"The 'output' parameter of classify_report must be {(len(pairs), len(pairs.classes))}, images "
            "by classes of "
            f"{pairs.name}; got {output.shape}. Make the head for these classes."
        )
    check_scores(output, "The 'output' parameter of classify_report")
    groups = np.asarray(pairs.patients) if len(set(pairs.patients)) < len(pairs) else None
    common: dict[str, Any] = {"groups": groups, "n": n, "seed": seed}
    rows: list[dict[str, Any]] = [
        {"metric": "accuracy", "class": "all", "estimate": accuracy(output, label, **common)},
        {
            "metric": "balanced accuracy",
            "class": "all",
            "estimate": balanced_accuracy(output, label, **common),
        },
        {"metric": "macro AUC", "class": "all", "estimate": macro_auc(output, label, **common)},
    ]
    against = (
        output - np.array([np.logaddexp.reduce(np.delete(output, k, 1), axis=1) for k in range(output.shape[1])]).T
    )
    for k, name in enumerate(pairs.classes):
        mine = label == k
        found = accuracy(output[mine], label[mine], **_known(common, mine))
        rows.append({"metric": "sensitivity", "class": name, "estimate": found})
        area = auc(against[label >= 0, k], label[label >= 0] == k, **_known(common, label >= 0))
        rows.append({"metric": "AUC", "class": name, "estimate": area})
    return Report(
        tuple(rows),
        {"data": pairs.name, "images": len(pairs), "classes": list(pairs.classes), **(settings or {})},
        provenance(seed=seed) if versions is None else versions,
        {
            "output": stored(output),
            "label": label.tolist(),
            "group": list(pairs.patients) if groups is not None else [],
        },
    )


def retrieve_report(
    vlm: VLM,
    pairs: Pairs,
    *,
    k: Sequence[int] = (1, 5, 10),
    captions: int | None = None,
    batch_size: int = 128,
    settings: dict[str, Any] | None = None,
    versions: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Measure how well images find their captions and captions their images.

    Shapes   N images with all their captions, or the first `captions` of each.
    Units    proportions.
    Returns  Report of recall@k in both directions, counted twice: `same wording`, where every text is asked
             once and any image that carries it is right, and `own only`, where just the caption's own image
             is (and twins count as mistakes).
    Raises   ValueError if an image has no caption, or the model returns NaN.
    Source   Radford et al. 2021; wording-level relevance as in ECCV Caption, Chun et al. 2022.
    """
    texts = [list(row.captions[:captions]) for row in pairs.rows]
    if not all(texts):
        raise ValueError(
            f"The 'pairs' parameter of retrieve_report must have captions; {pairs.name} lacks some. Add the column."
        )
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    unique, meaning = np.unique([text for own in texts for text in own], return_inverse=True)
    image = image_features(vlm, pairs, batch_size=batch_size, progress=progress)
    text = text_features(vlm, unique.tolist(), batch_size=batch_size)
    check_scores(image, "The image embeddings of retrieve_report")
    check_scores(text, "The text embeddings of retrieve_report")
    similarity = (image @ text.T).numpy().astype(np.float64)
    true = np.zeros(similarity.shape, dtype=bool)
    true[owner, meaning] = True
    rows = []
    for counts in ("same wording", "own only"):
        for direction in ("i2t", "t2i"):
            if counts == "same wording":
                found = recall_at_k(similarity, equivalent=true, k=k, direction=direction, seed=seed)
            else:
                found = recall_at_k(similarity[:, meaning], owner, k=k, direction=direction, seed=seed)
            rows += [
                {"metric": f"recall@{m}", "direction": direction, "right": counts, "estimate": e}
                for m, e in found.items()
            ]
    settings = {
        "data": pairs.name,
        "images": len(pairs),
        "texts": len(owner),
        "wordings": len(unique),
        **(settings or {}),
    }
    return Report(tuple(rows), settings, provenance(seed=seed) if versions is None else versions)


def _known(common: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    return {**common, "groups": None if common["groups"] is None else common["groups"][rows]}
