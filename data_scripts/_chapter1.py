"""Parts of the studies of the first chapter: data, trivial classifiers, and what is said of papers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv.cli.options import open_pairs
from medadv.course import baselines
from medadv.course.ch01 import helpers, pitfalls
from medadv.data.pairs import Pairs
from medadv.evaluate import _counted
from medadv.evaluate.intervals import Estimate, weighted
from medadv.evaluate.metrics import accuracy
from medadv.models import TEMPLATES, VLM, ZeroShot
from medadv.reports.classification import classify_report

METRICS = ("macro AUC", "balanced accuracy", "accuracy")
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def opened(name: str, options: argparse.Namespace, *, split: str = "all") -> Pairs:
    """Open a folder of real images below MEDADV_DATA at the tiny model's size."""
    return open_pairs(name, split=split, size=64, limit=options.limit, seed=options.seed)


def pixels_of(pairs: Pairs) -> Tensor:
    """Return all images of a data set as one tensor."""
    return torch.cat([batch.image for batch in pairs.batches(500)])


def rows_of(subject: str, output: Any, pairs: Pairs, seed: int) -> list[dict[str, Any]]:
    """Return the overall rows of a report under the name of what was scored."""
    report = classify_report(output, pairs, seed=seed)
    return [{"subject": subject, "metric": metric, "estimate": report[metric]} for metric in METRICS]


def chosen_linear(view: Callable[[Tensor], Tensor], pixels: dict[str, Tensor], sets: dict[str, Pairs]) -> Tensor:
    """Fit a linear classifier on a view of the pixels, its penalty chosen on val, and score test."""
    seen = {name: view(image) for name, image in pixels.items()}
    known, both, many = sets["train"].labels, torch.cat([seen["val"], seen["test"]]), len(sets["test"].classes)
    best: tuple[float, Tensor] | None = None
    for strength in tqdm(STRENGTHS, desc=f"linear classifier on {both.shape[1]} numbers"):
        output = baselines.fit_linear(seen["train"], known, both, classes=many, C=strength, max_iter=100)
        score = accuracy(output[: len(seen["val"])], sets["val"].labels).value
        if best is None or score > best[0]:
            best = score, output[len(seen["val"]) :]
    assert best is not None
    return best[1]


def step_rows(head: nn.Module, pairs: Pairs, seed: int) -> list[dict[str, Any]]:
    """Score images after five gradient steps within one and two grey levels."""
    found: dict[str, list[Tensor]] = {"linf:1/255": [], "linf:2/255": []}
    for batch in pairs.batches(100, progress=True):
        assert batch.label is not None
        for name, (_, output) in pitfalls.attacked(head, batch.image, batch.label, list(found)).items():
            found[name].append(output)
    return [
        {
            "subject": f"five gradient steps, {name}",
            "metric": "accuracy",
            "estimate": accuracy(torch.cat(parts), pairs.labels, groups=pairs.patients, seed=seed),
        }
        for name, parts in found.items()
    ]


def place(name: str, subject: str) -> str:
    """Name a row of a table inside the projections."""
    if name.endswith("alone"):
        return name
    return f"{subject}, all images" if name == "all" else f"{subject}, inside {name.upper()}"


def drop(output: np.ndarray, pairs: Pairs, seed: int) -> Estimate:
    """Estimate the area under the curve of all images minus that of the AP images, patients resampled."""
    score, positive = output[:, 1] - output[:, 0], pairs.labels.numpy() == 1
    ap = np.array([row.attributes.get("projection") == "ap" for row in pairs.rows])
    whole, part = _counted.auc(score, positive), _counted.auc(score[ap], positive[ap])
    return weighted(lambda counts: whole(counts) - part(counts[:, ap]), len(pairs), groups=pairs.patients, seed=seed)


def finding(paper: str, said: str, what: str, estimate: Estimate) -> dict[str, Any]:
    """Say what a paper found and whether our interval agrees: it lies above zero, or not."""
    numbers = (float(getattr(estimate, name)) for name in ("value", "low", "high"))
    value, low, high = (round(x, 4) if np.isfinite(x) else None for x in numbers)
    if value is None or low is None:
        return {"paper": paper, "finding": f"{said} ({what})", "measured": "no interval", "verdict": "not tested"}
    known: dict[str, Any] = {"measured": value, "low": low, "high": high}
    return {"paper": paper, "finding": f"{said} ({what})", **known, "verdict": "holds" if low > 0 else "does not hold"}


def findings(vlm: VLM, held: Pairs, feature: Tensor, zero: Tensor, linear: Tensor, *, seed: int) -> list[dict]:
    """Compare with section 3.1 of the CLIP paper: ensembles, wording, and the worth of labels."""
    label, who = held.labels.numpy(), np.asarray(held.patients)

    def right(output: Tensor) -> np.ndarray:
        return (output.argmax(1).numpy() == label).astype(float)

    def mean(values: np.ndarray, start: int = 0) -> Estimate:
        part = values[start:]
        return weighted(lambda c: c @ part / c.sum(1), len(part), groups=who[start:], seed=seed)

    single = [ZeroShot.from_prompts(vlm, held.prompts, templates=(t,)).from_features(feature) for t in TEMPLATES]
    hits = np.stack([right(output) for output in single])
    # Best and worst are chosen on the first half: chosen and measured on the same images they would always differ.
    half = len(label) // 4 * 2  # even, so that no patient is on both sides
    order = hits[:, :half].mean(1).argsort()
    bare = ZeroShot.from_prompts(vlm, helpers.wordings()["finding alone"]).from_features(feature)
    inside = [right(pitfalls.within_modality(output, held)) for output in (zero, bare)]
    paper = "radford2021clip"
    return [
        finding(
            paper,
            "an ensemble of prompts is more accurate than single prompts",
            "zero-shot accuracy gained over the mean of five single templates, phantoms",
            mean(right(zero) - hits.mean(0)),
        ),
        finding(
            paper,
            "zero-shot accuracy depends on the template around the class",
            "best minus worst of five templates, chosen on one half of the phantoms, measured on the other",
            mean(hits[order[-1]] - hits[order[0]], half),
        ),
        finding(
            paper,
            "saying what kind of picture it is beats the bare name of the class",
            "zero-shot accuracy gained where the kind of image is known, phantoms",
            mean(inside[0] - inside[1]),
        ),
        finding(
            paper,
            "a linear probe on labelled images is more accurate than zero-shot",
            "accuracy gained over zero-shot, phantoms",
            mean(right(linear) - right(zero)),
        ),
    ]
