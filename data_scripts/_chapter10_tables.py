"""What the studies of the chapter on PromptSmooth certify and attack, and what they say of the papers."""

from __future__ import annotations

import argparse
from typing import Any

from _chapter10 import (
    COMBINED,
    CONTEXT,
    EXACT,
    LEARNED,
    RATES,
    all_heads,
    denoised,
    kept,
    log_of,
    noisy_tower,
    published,
    sentences,
    struck,
)
from _chapter10_rows import (
    counted,
    difference_row,
    gain,
    measured,
    paired_rows,
    power_rows,
    radius_rows,
    report_of,
    soundness_rows,
    table_rows,
)

from medadv.data.pairs import Pairs
from medadv.models.prompt import Prompt
from medadv.reports.certification import CONDITIONAL
from medadv.reports.report import Report

PAPER = "hussein2024promptsmooth"
SIGMA = 0.1
"""Noise at which the shipped tower still sees."""


def campaign(
    heads: dict[str, Any], test: Pairs, sigma: float, name: str, options: argparse.Namespace
) -> tuple[list[dict], list[dict]]:
    """Certify all heads on one pass, attack every certificate, and hold what was found against the rules."""
    image, file = test.batch(range(len(test))).image, options.work / f"{name}.tsv"
    plan = {"sigma": sigma, "n0": options.n0, "n": options.n, "seed": options.seed}
    made = kept(heads, image, test.labels, file, **plan)
    hits = struck(heads, image, made, file.with_suffix(".jsonl"), votes=options.votes, steps=options.strikes)
    log = log_of(file, images=len(test))
    usual, start = published(RATES[1]), "zero-shot smoothing"
    fixed = hits[hits["guarantee"] == "fixed"]
    sound = hits[~hits["guarantee"].isin(["fixed", CONDITIONAL])]
    frozen, claims = hits[hits["head"] == usual], gain(log, start, usual)
    both = hits[hits["head"] == COMBINED]
    said = [
        counted(
            "cohen2019smoothing", "no perturbation inside a fixed head's radius changes its vote", fixed, proved=True
        ),
        counted(
            "lyu2024adaptive",
            "heads that tune themselves within the vote, or pay for it, keep theirs",
            sound,
            proved=True,
        ),
        counted(
            PAPER,
            "read as a statement on the system in use, the radius of the prompt frozen at x holds",
            frozen,
            proved=False,
        ),
        counted(PAPER, "the same of both variants combined", both, proved=False),
        measured(PAPER, "the zero-shot variant claims a larger mean radius than zero-shot smoothing, in sigma", claims),
    ]
    for one in said:
        one["finding"] += f" (phantoms, sigma {sigma:g}{', a tower tuned on noise' * (name == 'tower')})"
    faster = gain(log, published(RATES[0]), published(RATES[2]))
    rows = [difference_row(f"lr {RATES[2]:g} - lr {RATES[0]:g}, as published otherwise", faster)]
    return soundness_rows(hits, log) + rows, said


def compared(
    vlm: Any, train: Pairs, test: Pairs, name: str, options: argparse.Namespace, *, copies: int = 4, balanced=False
) -> tuple[list[dict], list[dict]]:
    """Certify all heads, compare each with zero-shot smoothing image by image, and say what the papers said."""
    words, file = list(test.prompts or test.classes), options.work / f"{options.part}.tsv"
    learn: dict[str, Any] = {"shots": options.shots, "copies": copies, "seed": options.seed}
    heads = all_heads(Prompt(vlm, words, context=CONTEXT), train, sigma=SIGMA, **learn)
    image = test.batch(range(len(test))).image
    kept(heads, image, test.labels, file, sigma=SIGMA, n0=options.n0, n=options.n, seed=options.seed)
    log, start = log_of(file, images=len(test)), "zero-shot smoothing"
    rows = table_rows(log, balanced=balanced) + paired_rows(log, base=start) + power_rows(len(test))
    rows += [
        difference_row("few-shot, three draws of shots - zero-shot smoothing", gain(log, start, LEARNED)),
        difference_row("probe on noisy features - few-shot, three draws of shots", gain(log, LEARNED, EXACT)),
    ]
    said = [
        measured(PAPER, "few-shot prompts are certified further than zero-shot smoothing: mean radius gained in sigma, "
                 "three draws of shots", gain(log, start, LEARNED)),
        measured(PAPER, "one prompt for all noise levels loses little to one for this level: the difference, in sigma, "
                 "is above -0.05", gain(log, "few-shot, this level alone", "few-shot"), above=-0.05),
        measured(PAPER, "the zero-shot variant claims a larger mean radius than zero-shot smoothing, in sigma "
                 f"({CONDITIONAL})", gain(log, start, "PromptSmooth zero-shot")),
        measured(PAPER, f"combining both claims more than few-shot alone, in sigma ({CONDITIONAL})",
                 gain(log, "few-shot", COMBINED)),
        *radius_rows(log, [name for name in heads if name != start], base=start, data=name),
    ]  # fmt: skip
    for one in said:
        one["finding"] += "" if name in one["finding"] else f" ({name})"
    return rows, said


def rivals(
    vlm: Any, train: Pairs, test: Pairs, data: str, part: str, options: argparse.Namespace
) -> tuple[str, str, Report, list[dict]]:
    """Tune, certify, and compare with zero-shot smoothing image by image."""
    image, work = test.batch(range(len(test))).image, options.work
    common: dict[str, Any] = {"sigma": SIGMA, "steps": options.tuning, "seed": options.seed}
    tag = "" if part == "prompts" else f"_{part}"
    tuned = noisy_tower(vlm, train, checkpoint=work / f"tower{tag}_{SIGMA:g}_{options.tuning}.pt", **common)
    place = work / f"denoiser{tag}_{SIGMA:g}_{options.tuning}.pt"
    heads = {
        "tower tuned on noise": sentences(tuned, test),
        "denoiser": denoised(sentences(vlm, test), train, checkpoint=place, **common),
    }
    start, first = "zero-shot smoothing", work / f"{part}.tsv"
    plan = {"sigma": SIGMA, "n0": options.n0, "n": options.n, "seed": options.seed}
    if not first.is_file():
        heads[start] = sentences(vlm, test)
    files = [work / f"baseline{tag}_{name.split()[0]}.tsv" for name in heads]
    for (name, head), file in zip(heads.items(), files, strict=True):
        kept({name: head}, image, test.labels, file, **plan)
    log = log_of(*([first] if first.is_file() else []), *files, images=len(test))
    log = log[log["head"].isin([*heads, start, "few-shot"])]
    further = f"is certified further than zero-shot smoothing, in sigma ({data})"
    said = [
        measured("cohen2019smoothing", f"a tower tuned on noise {further}", gain(log, start, "tower tuned on noise")),
        measured("salman2020denoised", f"a denoiser before the model {further}", gain(log, start, "denoiser")),
        *radius_rows(log, ["tower tuned on noise", "denoiser"], base=start, data=data),
    ]
    rows = table_rows(log, balanced=part == "isic") + paired_rows(log, base=start)
    made = report_of(rows, options, sigma=SIGMA, tuning=options.tuning)
    name = f"baselines_{'phantoms' if part == 'prompts' else 'isic2017'}.json"
    return name, f"What changes the image side: {data}, sigma 0.1", made, said
