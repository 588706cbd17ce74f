"""Parts of the studies of the chapter on PromptSmooth: heads, towers, attacks that are kept, and rows of tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv.certify.promptsmooth import calibrate, few_shot, noisy_bank, shots_of
from medadv.certify.records import Certificate, read_log
from medadv.certify.smooth import certify, predict
from medadv.certify.soundness import strike
from medadv.certify.test_time import Composed, Inside, Routed, TestTime
from medadv.course import baselines
from medadv.data.pairs import Pairs
from medadv.models import ZeroShot
from medadv.models.prompt import Prompt
from medadv.train.loop import fit
from medadv.train.smoothing import Denoised, Denoiser, denoise_step, noisy_step

RATES = (5e-4, 5e-3, 5e-2)
"""Learning rates of the published zero-shot variant; its own is the middle one."""
CONTEXT = "a medical image showing"
SHARES = (0.5, 1.0, 1.5, 2.0)
"""Noise levels a prompt is trained on, in units of the one it is certified at: the paper's four, moved to 64 pixels."""
DRAWS = 3
LEARNED = ("few-shot", *(f"few-shot, shots {i}" for i in range(1, DRAWS)))
"""Few-shot prompts, each from other images of the same training set."""
COMBINED = "PromptSmooth combined"
EXACT = "probe on noisy features (ceiling)"
FIT = 100
"""Seed of all noise that heads are fitted on."""


def learned(
    prompt: Prompt, train: Pairs, *, sigma: float, shots: int = 16, copies: int = 4, seed: int = 0
) -> dict[str, Prompt]:
    """Learn prompts for all noise levels, one for this level alone, and one without labels, on images of its own."""
    draws = [shots_of(train.labels, shots, seed=seed + i) for i in range(DRAWS)]
    rest = [i for i in range(len(train)) if i not in set(draws[0])][:200]
    if not rest:
        raise ValueError(
            "The --train option must leave images beside the shots of every class. Take more, or fewer shots."
        )
    levels, common = [share * sigma for share in SHARES], {"copies": copies, "seed": FIT, "progress": False}
    mixed = [noisy_bank(prompt.vlm, train.select(rows), sigmas=levels, **common) for rows in draws]
    one = noisy_bank(prompt.vlm, train.select(draws[0]), sigmas=(sigma,), **common)
    blind = noisy_bank(prompt.vlm, train.select(rest), sigmas=(sigma,), **common)
    return {
        **{name: few_shot(prompt, bank) for name, bank in zip(LEARNED, mixed, strict=True)},
        "few-shot, this level alone": few_shot(prompt, one),
        "calibrated zero-shot": calibrate(prompt, blind),
    }


def all_heads(
    prompt: Prompt, train: Pairs, *, sigma: float, shots: int = 16, copies: int = 4, seed: int = 0
) -> dict[str, Any]:
    """Make every head that shares the embeddings of one tower; all of sentences start from the same template."""
    own = learned(prompt, train, sigma=sigma, shots=shots, copies=copies, seed=seed)
    fixed = {"zero-shot smoothing": prompt.head(), **{name: one.head() for name, one in own.items()}}
    several = [fixed[name] for name in ("zero-shot smoothing", "few-shot", "calibrated zero-shot")]
    return {
        **fixed,
        "PromptSmooth zero-shot": TestTime(prompt),
        COMBINED: TestTime(own["few-shot"]),
        "tuned inside each vote": Inside(fixed["zero-shot smoothing"]),
        "routed": Routed(several),
        EXACT: baselines.noisy_probe(prompt.vlm, train, sigma=sigma, copies=2, seed=FIT),
    }


def audited_heads(prompt: Prompt, train: Pairs, *, sigma: float, shots: int = 16, seed: int = 0) -> dict[str, Any]:
    """Make the heads of the soundness campaign: fixed, sound though tuned, and as published at three rates."""
    few = learned(prompt, train, sigma=sigma, shots=shots, seed=seed)["few-shot"]
    start = prompt.head()
    return {
        "zero-shot smoothing": start,
        "few-shot": few.head(),
        "tuned inside each vote": Inside(start),
        "routed": Routed([start, few.head()]),
        "composed": Composed(start, copies=1, ratio=2.0),
        **{published(rate): TestTime(prompt, lr=rate) for rate in RATES},
        COMBINED: TestTime(few),
    }


def published(rate: float) -> str:
    """Name the published zero-shot variant at a learning rate."""
    return f"PromptSmooth zero-shot, lr {rate:g}"


def noisy_tower(vlm: Any, train: Pairs, *, sigma: float, steps: int, seed: int, checkpoint: Path) -> Any:
    """Tune a copy of the image tower on noisy images, against the sentences as they are."""
    tuned = copy.deepcopy(vlm)
    head = Prompt(tuned, train.prompts or train.classes, context=CONTEXT).head()
    common: dict[str, Any] = {"batch_size": 32, "norm": False, "seed": seed, "checkpoint": checkpoint, "every": 25}
    fit(head, train, noisy_step(sigma), steps=steps, lr=3e-4, params=tuned.model.visual.parameters(), **common)
    return tuned


def denoised(head: nn.Module, train: Pairs, *, sigma: float, steps: int, seed: int, checkpoint: Path) -> Denoised:
    """Train a small denoiser to put before a classifier that stays as it is."""
    denoiser = Denoiser(width=8, seed=seed)
    common: dict[str, Any] = {"batch_size": 16, "seed": seed, "checkpoint": checkpoint, "every": 50}
    fit(denoiser, train, denoise_step(sigma), steps=steps, lr=3e-3, weight_decay=0.0, **common)
    return Denoised(denoiser.eval(), head)


def kept(heads: Mapping[str, Any], image: Tensor, label: Tensor, file: Path, **plan: Any) -> list[Certificate]:
    """Certify; what the log holds already is not done again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return certify(dict(heads), image, labels=label, file=file, **plan)


def log_of(*files: Path, images: int) -> pd.DataFrame:
    """Read logs of the same images; heads of several files stand in one table."""
    whole = pd.concat([read_log(file) for file in files], ignore_index=True)
    return whole[whole["idx"] < images].drop_duplicates(["head", "sigma", "idx"], ignore_index=True)


def struck(
    heads: Mapping[str, Any], image: Tensor, made: Sequence[Certificate], file: Path, *, votes: int, steps: int
) -> pd.DataFrame:
    """Attack inside every claimed radius, one line of a file each, so that a stopped campaign goes on.

    `confirmed` is whether ten times the votes, all fresh, say so again where an attack broke one; `moved` whether the
    head, tuned anew on the unperturbed image, already says another class.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    done = {(one["head"], one["index"]): one for one in map(json.loads, lines)}
    wanted = [c for c in made if not c.abstained and c.radius > 0]
    for one in tqdm([c for c in wanted if (c.head, c.index) not in done], desc="attacking inside"):
        head, options = heads[one.head], {"votes": votes, "level": 0.01, "seed": 1, "progress": False}
        (hit,) = strike(head, image, [one], share=0.95, steps=steps, draws=16, **options)
        row = {"head": one.head, "index": one.index, "guarantee": one.guarantee, "label": one.predicted}
        row |= {"radius": one.radius, "says": hit.predicted, "distance": hit.distance, "broken": hit.broken}
        again = {"sigma": one.sigma, "ids": [one.index], "progress": False}
        if hit.broken:
            sure = predict(head, hit.image[None], n=10 * votes, alpha=0.001, seed=3, **again)
            row["confirmed"] = int(sure) not in (-1, one.predicted)
        if hasattr(head, "views"):
            fresh = predict(head, image[one.index][None], n=votes, alpha=0.01, seed=2, **again)
            row["moved"] = int(fresh) not in (-1, one.predicted)
        done[one.head, one.index] = row
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
    cells = ["head", "index", "guarantee", "label", "radius", "says", "distance", "broken", "confirmed", "moved"]
    return pd.DataFrame([done[c.head, c.index] for c in wanted], columns=cells)


def sentences(vlm: Any, data: Pairs) -> ZeroShot:
    """Make the classifier of sentences with the template the prompts start from."""
    return Prompt(vlm, data.prompts or data.classes, context=CONTEXT).head()
