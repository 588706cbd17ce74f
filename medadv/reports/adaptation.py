"""Adaptation as a study: train, choose, score the held-out images once, and ask whether a shortcut did it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medadv.data.pairs import Pairs
from medadv.evaluate.metrics import macro_auc
from medadv.models.vlm import VLM
from medadv.reports.classification import classify_report, head_report
from medadv.reports.report import Report, provenance
from medadv.train.adapt import adapt, cross_validate, save_adapted


def adapt_report(
    vlm: VLM,
    train: Pairs,
    val: Pairs,
    test: Pairs,
    *,
    folder: str | Path,
    within: str | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, Report]:
    """Adapt a model, write it, and score it on images that had no part in the choice.

    Shapes   three data sets of the same K classes.
    Units    proportions and areas.
    Returns  {"test": Report} and, where `within` names an attribute, {"within_...": Report}; options as in
             `adapt`. While it runs the folder holds checkpoints, so that the same call goes on after a crash.
    Raises   ValueError as `adapt`; OSError if the folder cannot be written.
    Source   ours.
    """
    if within:
        test.groups(within)  # a wrong name must not cost a training
    for _ in test.batches(progress=progress):  # nor must an image that cannot be read
        pass
    work = Path(folder) / "checkpoints"
    done = adapt(vlm, train, val, seed=seed, checkpoint=work, progress=progress, **options)
    made = provenance(seed=seed, device=vlm.device)
    facts = {**(settings or {}), "method": done.method, "chosen": done.chosen, "tried": list(done.tried)}
    save_adapted(done, folder, facts={"data": train.name, "settings": settings or {}, "versions": made})
    facts = {"task": f"adapted by {done.method}", "split": "test", **facts}
    report = head_report(done.head, test, seed=seed, settings=facts, progress=progress)
    shutil.rmtree(work, ignore_errors=True)
    return {"test": report, **_inside(report, test, within, seed)}


def folds_report(
    vlm: VLM,
    pairs: Pairs,
    *,
    folds: int = 5,
    folder: str | Path | None = None,
    within: str | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, Report]:
    """Adapt a model once for each fold of patients and score every image out of fold.

    Shapes   pairs of N images and K classes.
    Units    proportions and areas; patients are resampled as a whole.
    Returns  {"folds": Report} and, where `within` names an attribute, {"within_...": Report}; options as in
             `adapt`.
    Raises   ValueError as `cross_validate`.
    Source   ours.
    """
    if within:
        pairs.groups(within)
    work = None if folder is None else Path(folder) / "checkpoints"
    found = cross_validate(vlm, pairs, folds=folds, seed=seed, checkpoint=work, progress=progress, **options)
    facts = {"task": f"{folds} folds by patient", **(settings or {}), "chosen": list(found.chosen)}
    made = provenance(seed=seed, device=vlm.device)
    report = classify_report(found.output, pairs, settings=facts, seed=seed, versions=made)
    if work is not None:
        shutil.rmtree(work, ignore_errors=True)
    return {"folds": report, **_inside(report, pairs, within, seed)}


def within(report: Report, pairs: Pairs, by: str, *, seed: int = 0, n: int = 1000) -> Report:
    """Ask whether a classifier reads a shortcut: repeat its table inside each value of an attribute.

    Shapes   report carries the raw scores of these pairs.
    Units    macro AUC.
    Returns  Report with the rows `all`, one for each value, and `"by" alone`: how well the attribute by
             itself predicts the label. A value where one class is missing has no AUC.
    Raises   ValueError if the report has no raw scores of these pairs, or the attribute is unknown.
    Source   ours; the shortcut of portable radiographs as in Zech et al. 2018, arXiv 1807.00431.
    """
    output = np.asarray(report.raw.get("output", []))
    if len(output) != len(pairs):
        raise ValueError(
            f"The 'report' parameter of within must carry raw scores of {pairs.name}; got {len(output)} rows."
        )
    label, number = pairs.labels.numpy(), pairs.groups(by)[0].numpy()
    names, patients = pairs.groups(by)[1], np.asarray(pairs.patients)
    parts: list[tuple[str, np.ndarray]] = [("all", np.ones(len(label), dtype=bool))]
    parts += [(name, number == g) for g, name in enumerate(names)]
    rows = [_part(name, output, label, patients, part, n, seed, by) for name, part in parts]
    # The attribute alone: the share of each class among the images that carry the same value.
    share = np.zeros_like(output)
    for g in np.unique(number):
        share[number == g] = np.bincount(label[(number == g) & (label >= 0)], minlength=output.shape[1])
    share = (share + 1e-9) / (share + 1e-9).sum(1, keepdims=True)
    rows.append(_part(f"{by} alone", share, label, patients, parts[0][1], n, seed, by))
    return Report(tuple(rows), {**report.settings, "within": by}, report.versions)


def _inside(report: Report, pairs: Pairs, by: str | None, seed: int) -> dict[str, Report]:
    return {f"within_{by}": within(report, pairs, by, seed=seed)} if by else {}


def _part(name: str, output, label, patients, part, n: int, seed: int, by: str) -> dict[str, Any]:
    estimate = macro_auc(output[part], label[part], groups=patients[part], n=n, seed=seed)
    return {"metric": "macro AUC", by: name, "estimate": estimate}
