"""Parts of the studies of the second chapter: the models that are attacked, paired rates, what is said of papers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import medadv
from medadv.attacks import apgd, fgsm, mifgsm, pgd, universal
from medadv.course.ch02 import pitfalls, toy
from medadv.data.pairs import Pairs
from medadv.data.tidy import cache
from medadv.evaluate.intervals import Estimate, weighted, wilson
from medadv.objective import classify, margin
from medadv.reports.adaptation import adapt_report
from medadv.threat import Threat
from medadv.train.adapt import load_adapted
from medadv.train.loop import fit
from medadv.train.supervised import balanced_step


class Plain(nn.Sequential):
    """A plain convolutional network on pixels, of another make than the tiny Med-VLM and without any text."""

    def __init__(self, classes: int, *, width: int = 24):
        wide = [3, width, 2 * width, 4 * width, 4 * width]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(wide):
            parts += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*parts, nn.Flatten(), nn.Linear(wide[-1] * 16, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map pixels (B, 3, 64, 64) to logits (B, K)."""
        return super().forward((image - 0.5) / 0.25)


def second_model(folder: Path, *, images: int, steps: int, seed: int = 1) -> nn.Module:
    """Train the plain network on phantoms that the tiny Med-VLM never saw; a killed run goes on where it was."""
    train, kept = medadv.phantoms(images, seed=seed), folder / f"second_{images}_{steps}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Plain(len(train.classes))
    known = torch.load(kept, map_location="cpu", weights_only=True) if kept.is_file() else {}
    if known.get("done") == steps:  # then the phantoms need not be made again
        model.load_state_dict(known["model"])
        return model.eval()
    step = balanced_step(train.labels, len(train.classes))
    options = {"steps": steps, "lr": 3e-3, "weight_decay": 0.05, "seed": seed, "every": 100}
    fit(model, cache(train), step, checkpoint=kept, **options)
    return model.eval()


def adapted_head(train: Pairs, val: Pairs, test: Pairs, folder: Path, *, seed: int) -> nn.Module:
    """Put a linear probe on the tiny model, its penalty chosen on val, or read it from an earlier call."""
    if not (folder / "adapted.json").is_file():
        vlm = medadv.load("tiny", device="cpu")
        adapt_report(vlm, train, val, test, folder=folder, seed=seed, method="probe")
    return load_adapted(folder, vlm=medadv.load(f"local-dir:{folder}", device="cpu"))[0]


def share(values: Any, *, patients: Sequence, seed: int) -> Estimate:
    """Estimate a mean over images without nan, patients resampled as a whole; where all agree, count patients."""
    known = ~np.isnan(np.asarray(values, dtype=float))
    values, patients = np.asarray(values, dtype=float)[known], np.asarray(patients)[known]
    found = weighted(lambda counts: counts @ values / counts.sum(1), len(values), groups=patients, seed=seed)
    if found.low < found.high or found.value not in (0.0, 1.0):
        return found
    many = len(np.unique(patients))
    edge = wilson(int(found.value) * many, many)
    return Estimate(found.value, edge.low, edge.high, found.n, found.level, f"wilson over {many} groups")


def finding(paper: str, said: str, what: str, estimate: Estimate, holds: bool, partly: bool = False) -> dict[str, Any]:
    """Say what a paper found, what was measured, and whether our rule, fixed before the run, was met."""
    numbers = (float(getattr(estimate, name)) for name in ("value", "low", "high"))
    value, low, high = (round(x, 4) if np.isfinite(x) else None for x in numbers)
    if value is None or low is None:
        return {"paper": paper, "finding": f"{said} ({what})", "measured": "no interval", "verdict": "not tested"}
    verdict = "holds" if holds else "holds in part" if partly else "does not hold"
    known: dict[str, Any] = {"measured": value, "low": low, "high": high}
    return {"paper": paper, "finding": f"{said} ({what})", **known, "verdict": verdict}


Hit = dict[str, np.ndarray]
"""For each thing measured one number an image, mostly 1 where the model was fooled."""


def wins(head: nn.Module, image: torch.Tensor, label: torch.Tensor, seed: int) -> Hit:
    """Attack one set of phantoms in every way whose answer is one truth value an image."""
    found: Hit = {"clean": wrong(head, image, label)}

    def note(name: str, attack, want, threat: str, **options) -> None:
        how = {} if attack in (fgsm, mifgsm) else {"generator": torch.Generator().manual_seed(seed)}
        parts = [
            attack(want(head, label[rows]), image[rows], Threat.parse(threat), **how, **options).won
            for rows in torch.arange(len(image)).split(75)
        ]
        found[f"{name}|{threat}"] = torch.cat(parts).numpy().astype(float)

    for eps in ("0.5", "1", "2", "4", "8"):
        note("FGSM", fgsm, classify, f"linf:{eps}/255")
        note("PGD-20", pgd, classify, f"linf:{eps}/255", steps=20)
    for steps in (2, 5, 10, 30):
        note(f"PGD-{steps}", pgd, classify, "linf:1/255", steps=steps)
    note("APGD-30", apgd, classify, "linf:1/255", steps=30)
    note("MI-FGSM-10", mifgsm, classify, "linf:1/255", steps=10)
    note("PGD-20, margin", pgd, margin, "linf:1/255", steps=20)
    scaled = pitfalls.Scaled(head, 1000.0)
    for name, want in (("cross-entropy", classify), ("margin", margin)):
        note(f"PGD-20, logits x 1000, {name}", pgd, partial(_on, want, scaled), "linf:1/255", steps=20)
    return found


def _on(want, scaled: nn.Module, _: nn.Module, label: torch.Tensor):
    return want(scaled, label)


def wrong(head: nn.Module, image: torch.Tensor, label: torch.Tensor) -> np.ndarray:
    """Return 1 where the model errs."""
    return (pitfalls.logits_of(head, image).argmax(1) != label).numpy().astype(float)


def crossing(head: nn.Module, other: nn.Module, image: torch.Tensor, label: torch.Tensor, seed: int) -> Hit:
    """Attack one model, score both: only images that both read rightly count, the rest is nan."""
    fine = (wrong(head, image, label) + wrong(other, image, label)) == 0
    found: Hit = {}

    def note(name: str, moved: torch.Tensor) -> None:
        for place, model in (("at home", head), ("on the other model", other)):
            found[f"{name}, {place}"] = np.where(fine, wrong(model, moved, label), np.nan)

    for eps in ("4", "8"):
        threat = Threat.parse(f"linf:{eps}/255")
        draw, want = torch.Generator().manual_seed(seed), classify(head, label)
        note(f"PGD-10|{threat}", pgd(want, image, threat, steps=10, stop=False, generator=draw).image)
        note(f"MI-FGSM-10|{threat}", mifgsm(want, image, threat, steps=10, stop=False).image)
        note(f"random signs|{threat}", (image + threat.eps * toy.random_signs(image[0], len(image))).clamp(0, 1))
    return found


def one_for_all(head: nn.Module, pairs: Pairs, train: Pairs, seed: int) -> Hit:
    """Make one perturbation from training phantoms and count whom it fools among others that were right."""
    image, label = train.batch(range(len(train))).image, train.labels
    new, truth = pairs.batch(range(len(pairs))).image, pairs.labels
    fine, found = wrong(head, new, truth) == 0, {}
    for eps in ("4", "8"):
        threat = Threat.parse(f"linf:{eps}/255")
        draw = torch.Generator().manual_seed(seed)
        made = universal(partial(classify, head), image, label, threat, held_out=0.0, epochs=10, generator=draw)
        coin = threat.eps * toy.random_signs(new[0], 1, seed=seed)
        for name, moved in (("universal", made.perturbation), ("one random pattern", coin)):
            found[f"{name}|{threat}"] = np.where(fine, wrong(head, (new + moved).clamp(0, 1), truth), np.nan)
    return found


def tied(head: nn.Module, chests: Pairs, seed: int) -> Hit:
    """Attack radiographs with three free channels and with one."""
    image, label, found = chests.batch(range(len(chests))).image, chests.labels, {}
    for eps in ("0.5", "1", "2"):
        for kind in ("", ":grey"):
            threat, draw = Threat.parse(f"linf:{eps}/255{kind}"), torch.Generator().manual_seed(seed)
            won = pgd(classify(head, label), image, threat, steps=20, generator=draw).won
            found[f"PGD-20, chests|{threat}"] = won.numpy().astype(float)
    return found


def under_threat(head: nn.Module, pairs: Pairs, positive: int, threats: Sequence[str], seed: int) -> list[dict]:
    """Sensitivity and specificity of one finding, with intervals, clean and under each threat."""
    rows = []
    for text in ("none", *threats):
        threat = None if text == "none" else Threat.parse(text)
        reading = pitfalls.per_finding(head, pairs, positive, threat=threat, steps=10, seed=seed)
        for name, estimate in reading._asdict().items():
            what = {"attack": "PGD-10, hide or invent it" if threat else "none", "threat": text}
            rows.append({**what, "metric": f"{name}, {pairs.classes[positive]}", "estimate": estimate})
    return rows
