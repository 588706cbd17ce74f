"""Few-shot prompts on cached noisy embeddings beside CoOp's loop, which runs both towers in every step."""

from __future__ import annotations

import copy
from functools import partial
from statistics import median
from typing import Any

import torch
from _measure import timed
from _plain_certify import coop_steps, steps_as_published
from torch import Tensor

import medadv
from medadv._images import noisy_pixels
from medadv.certify.promptsmooth import few_shot, noisy_bank, shots_of
from medadv.data.tidy import cache
from medadv.models.prompt import Prompt


def training(
    *, sigma: float, shots: int, steps: int, repeats: int, prompts: int = 15, compare: int | None = None
) -> list[dict[str, Any]]:
    """Train a few-shot prompt whole on cached embeddings, and time some steps of the published loop.

    Three rows: with the embedding of the noisy images, as the first prompt needs it; without, as every further prompt,
    length or start on the same bank; and what follows for `prompts` of them with their one bank. `equal` is the
    accuracy of both on noisy embeddings of held-out phantoms, for which the published loop runs whole, once, or
    `compare` steps.
    """
    vlm, cpu = medadv.load("tiny", device="cpu"), torch.device("cpu")
    train = cache(medadv.phantoms(1000, seed=0), progress=False)
    chosen = train.select(shots_of(train.labels, shots))
    image, prompt = chosen.batch(range(len(chosen))).image, Prompt(vlm, train.prompts, context=None, length=4)
    levels = tuple(share * sigma for share in (0.5, 1.0, 1.5, 2.0))
    common: dict[str, Any] = {"batch": 32, "seed": 0, "sigmas": levels}

    def published(many: int = steps) -> Tensor:
        with noisy_pixels():
            return coop_steps(prompt, image, chosen.labels, steps=many, **common)

    published()
    total, took = steps_as_published(len(chosen)), []
    for _ in range(repeats):
        made = partial(noisy_bank, vlm, image, sigmas=levels, copies=4, labels=chosen.labels, progress=False)
        bank, caching, _ = timed(made, cpu)
        learned, learning, _ = timed(partial(few_shot, prompt, bank), cpu)
        took.append((caching, learning, timed(published, cpu)[1] / steps * total))
    theirs = copy.copy(prompt)
    theirs._parameters = {"context": torch.nn.Parameter(published(compare or total))}
    right = [accuracy(one, sigma) for one in (learned, theirs)]
    rows = []
    for name, spent in {
        "few-shot, embeddings made first, against CoOp's loop": [(a + b, c) for a, b, c in took],
        "few-shot, on embeddings that are there, against CoOp's loop": [(b, c) for _, b, c in took],
        f"{prompts} few-shot prompts and their embeddings, against {prompts} of CoOp's loops":
            [(a + prompts * b, prompts * c) for a, b, c in took],
    }.items():  # fmt: skip
        ratios = [theirs / ours for ours, theirs in spent]
        rows.append({"part": "training", "runner": name, "images": len(chosen),
                     "seconds": round(median(ours for ours, _ in spent), 2), "repeats": repeats,
                     "theirs": round(median(theirs for _, theirs in spent), 1), "steps": total,
                     "measured_steps": steps, "equal": "accuracy {:.3f} against {:.3f}".format(*right),
                     "ratio": [round(v, 2) for v in (median(ratios), min(ratios), max(ratios))]})  # fmt: skip
    return rows


def accuracy(prompt: Prompt, sigma: float, *, images: int = 300) -> float:
    """Score a prompt on noisy embeddings of phantoms that nothing was learned from."""
    held = medadv.phantoms(images, start=500_000, seed=0)
    bank = noisy_bank(prompt.vlm, held, sigmas=(sigma,), copies=2, seed=300, progress=False)
    with torch.no_grad():
        said = prompt.from_features(bank.feature.flatten(0, 1)).argmax(1)
    return float((said == bank.label.repeat_interleave(2)).double().mean())
