"""Few-shot prompts on cached noisy embeddings beside CoOp's loop, which runs both towers in every step."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
from _measure import timed
from _plain_certify import coop_steps, steps_as_published

import medadv
from medadv._images import noisy_pixels
from medadv.certify.promptsmooth import few_shot, noisy_bank, shots_of
from medadv.data.tidy import cache
from medadv.models.prompt import Prompt


def training(*, sigma: float, shots: int, steps: int, repeats: int) -> list[dict[str, Any]]:
    """Train a few-shot prompt whole on cached embeddings, and time some steps of the published loop.

    Two rows: with the embedding of the noisy images, as the first prompt needs it, and without, as every further
    prompt, length, number of shots or seed on the same bank.
    """
    vlm, cpu = medadv.load("tiny", device="cpu"), torch.device("cpu")
    train = cache(medadv.phantoms(1000, seed=0), progress=False)
    chosen = train.select(shots_of(train.labels, shots))
    image, prompt = chosen.batch(range(len(chosen))).image, Prompt(vlm, train.prompts, context=None, length=4)
    levels = tuple(share * sigma for share in (0.5, 1.0, 1.5, 2.0))

    def published() -> None:
        with noisy_pixels():
            coop_steps(prompt, image, chosen.labels, sigmas=levels, batch=32, steps=steps, seed=0)

    published()
    total, took = steps_as_published(len(chosen)), []
    for _ in range(repeats):
        made = partial(noisy_bank, vlm, image, sigmas=levels, copies=4, labels=chosen.labels, progress=False)
        bank, caching, _ = timed(made, cpu)
        _, learning, _ = timed(partial(few_shot, prompt, bank), cpu)
        took.append((caching, learning, timed(published, cpu)[1] / steps * total))
    rows = []
    for name, spent in {
        "few-shot, embeddings made first": [(a + b, c) for a, b, c in took],
        "few-shot, on embeddings that are there": [(b, c) for _, b, c in took],
    }.items():
        ratios = [theirs / ours for ours, theirs in spent]
        rows.append({"part": "training", "runner": f"{name}, against CoOp's loop", "images": len(chosen),
                     "seconds": round(median(ours for ours, _ in spent), 2), "repeats": repeats,
                     "theirs": round(median(theirs for _, theirs in spent), 1), "steps": total,
                     "measured_steps": steps, "equal": "",
                     "ratio": [round(v, 2) for v in (median(ratios), min(ratios), max(ratios))]})  # fmt: skip
    return rows
