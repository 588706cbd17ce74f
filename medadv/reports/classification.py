"""A classifier on a data set, or on one picture, in one call; every row of the Report has an interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from medadv._images import check_pixels
from medadv._labels import as_logits, check_scores
from medadv._quiet import quiet
from medadv.data.pairs import Pairs
from medadv.evaluate.intervals import Estimate
from medadv.evaluate.metrics import accuracy, auc, balanced_accuracy, macro_auc
from medadv.models.head import TEMPLATES, ZeroShot
from medadv.models.vlm import VLM
from medadv.reports._entry import check_classes, place_of
from medadv.reports.report import Report, provenance, stored


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


def ask(vlm: VLM, picture: str | Path, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES) -> Report:
    """Ask a model about one picture of one's own.

    Shapes   an image file, or a .npy array (H, W), (H, W, 3), pixels (3, H, W) or one channel; K phrases such as
             "a dermoscopic image of a melanoma".
    Units    the values are the softmax of the zero-shot logits: shares of these K phrases, no probabilities
             of disease.
    Returns  Report with one row for each phrase, the likeliest first; a single picture has no interval.
    Raises   ValueError if the file is no picture, holds values that are no pixels, or the model returns NaN.
    Source   Radford et al. 2021, section 3.1.
    """
    head = ZeroShot.from_prompts(vlm, classes, templates=templates)
    with quiet(head), torch.inference_mode():
        logits = head(_read_picture(vlm, Path(picture)))
    check_scores(logits, "The logits that 'vlm' gives in ask")
    share = logits[0].softmax(0).tolist()
    order = sorted(range(len(share)), key=lambda k: -share[k])
    rows = [{"metric": "share", "class": classes[k], "estimate": Estimate(share[k], np.nan, np.nan, 1)} for k in order]
    settings = {"task": "ask", "model": vlm.name, "data": Path(picture).name, "templates": list(templates)}
    return Report(tuple(rows), settings, provenance(device=vlm.device))


def _known(common: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    return {**common, "groups": None if common["groups"] is None else common["groups"][rows]}


def _read_picture(vlm: VLM, path: Path) -> Tensor:
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"The file {path} is no readable array of numbers ({error}). Save it with numpy.save."
            ) from error
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):  # one channel: a grey picture
            array = array[0] if array.shape[0] == 1 else array[..., 0]
        if array.ndim == 3 and array.shape[-1] not in (3, 4):  # channels first: pixels as the package has them
            return vlm.pixels([check_pixels(torch.from_numpy(array)[None], str(path))[0]])
        return vlm.pixels([array])
    try:
        with Image.open(path) as opened:
            opened.load()
            return vlm.pixels([opened])
    except (UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"The file {path} is no picture that can be read. Give a PNG, JPEG, TIFF or .npy file."
        ) from error
