"""Run the studies behind the chapter on PromptSmooth and store their tables.

    python data_scripts/study_chapter10.py --part soundness     # attacks inside the claimed radius, sigma 0.1
    python data_scripts/study_chapter10.py --part prompts       # every head on held-out phantoms, sigma 0.1
    python data_scripts/study_chapter10.py --part isic          # the same on ISIC 2017, needs MEDADV_DATA
    python data_scripts/study_chapter10.py --part baselines     # a tower tuned on noise, a denoiser; after prompts
    python data_scripts/study_chapter10.py --part baselines_isic # the same on ISIC 2017; after isic
    python data_scripts/study_chapter10.py --part tower         # the attacks again at sigma 0.25, on a tuned tower
    python data_scripts/study_chapter10.py --part prompts --images 500 --n 10000 --device cuda   # the field's size
    python data_scripts/study_chapter10.py --images 2 --n 60 --n0 20                             # a trial

A part takes five to thirty minutes on one core at its own size and writes one file below --out. What is certified
and attacked is kept below --work: a part that was stopped goes on there, and one that is asked for more images keeps
those it has. The rules by which a finding holds stand in _chapter10_rows.py and _chapter10_tables.py; what was added
or weakened after a first run is named in the chapter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from _chapter1 import opened
from _chapter10 import CONTEXT, audited_heads, noisy_tower
from _chapter10_rows import narrowed, report_of, toy_rows
from _chapter10_tables import SIGMA, campaign, compared, rivals

import medadv
from medadv._provenance import provenance
from medadv.course.study import store
from medadv.data.pairs import Pairs
from medadv.data.tidy import cache
from medadv.models.prompt import Prompt
from medadv.reports.report import Report

WIDE = 0.25
"""Noise for which the tower must be tuned first."""
SIZES = {
    "soundness": (160, 500),
    "tower": (80, 500),
    "prompts": (500, 500),
    "isic": (500, 500),
    "baselines": (500, 500),
    "baselines_isic": (500, 500),
}
"""Images and certifying votes of each part where none are asked for."""


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(SIZES), default="soundness")
    parser.add_argument("--images", type=int, help="test images")
    parser.add_argument("--n", type=int, help="certifying votes")
    parser.add_argument("--n0", type=int, default=100, help="votes that choose the class")
    parser.add_argument("--train", type=int, default=1000, help="images to learn from")
    parser.add_argument("--shots", type=int, default=16, help="of them, for few-shot prompts, of each class")
    parser.add_argument("--votes", type=int, default=200, help="votes of the system on an attacked image")
    parser.add_argument("--strikes", type=int, default=6, help="steps of an attack inside the radius")
    parser.add_argument("--tuning", type=int, default=150, help="steps that tune the tower or train the denoiser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/chapter10"))
    parser.add_argument("--out", type=Path, default=Path("book/10_promptsmooth/results"))
    options = parser.parse_args(arguments)
    line = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python data_scripts/study_chapter10.py", *line])
    # Before the work: the commit it ran from.
    options.made = provenance(command=command, seed=options.seed, device=options.device)
    images, n = SIZES[options.part]
    options.images, options.n = options.images or images, options.n or n
    parts = {"soundness": soundness, "tower": tower, "prompts": prompts, "isic": isic, "baselines": baselines,
             "baselines_isic": baselines_isic}  # fmt: skip
    try:
        name, title, report, findings = parts[options.part](options)
    except (ValueError, OSError) as error:
        print(f"study_chapter10: {error}", file=sys.stderr)
        return 2
    store(report, options.out / name, title=title, findings=findings, study=parts[options.part])
    print(report)
    return 0


def soundness(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Attack inside the claimed radius: fixed heads, sound ones that tune themselves, and the published variant."""
    vlm, train, test = phantoms(options)
    start = Prompt(vlm, test.prompts, context=CONTEXT)
    heads = audited_heads(start, train, sigma=SIGMA, shots=options.shots, seed=options.seed)
    rows, said = campaign(heads, test, SIGMA, "soundness", options)
    title = "Attacks inside the claimed radius: the tiny Med-VLM on phantoms, sigma 0.1"
    return "soundness_tiny.json", title, report_of(toy_rows() + rows, options, sigma=SIGMA), said


def tower(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Repeat the campaign at a noise level for which the image tower was tuned."""
    vlm, train, test = phantoms(options)
    place = options.work / f"tower_{WIDE:g}_{options.tuning}.pt"
    tuned = noisy_tower(vlm, train, sigma=WIDE, steps=options.tuning, seed=options.seed, checkpoint=place)
    start = Prompt(tuned, test.prompts, context=CONTEXT)
    heads = audited_heads(start, train, sigma=WIDE, shots=options.shots, seed=options.seed)
    rows, said = campaign(heads, test, WIDE, "tower", options)
    title = "Attacks inside the claimed radius: an image tower tuned on noise, phantoms, sigma 0.25"
    return "soundness_tower.json", title, report_of(rows, options, sigma=WIDE, tuning=options.tuning), said


def prompts(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Certify every head on held-out phantoms, on one pass of noisy embeddings."""
    vlm, train, test = phantoms(options)
    rows, said = compared(vlm, train, test, "phantoms", options)
    return "prompts_phantoms.json", "PromptSmooth on phantoms, sigma 0.1", report_of(rows, options, sigma=SIGMA), said


def isic(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Certify every head on real dermoscopy, asked in the words of the data."""
    vlm, train, test = dermoscopy(options)
    rows, said = compared(vlm, train, test, "ISIC 2017", options, copies=8, balanced=True)
    title = "PromptSmooth on ISIC 2017, official test split, sigma 0.1"
    return "prompts_isic2017.json", title, report_of(rows, options, sigma=SIGMA, data=test.name), said


def baselines(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Certify what changes the image side, on the images of the part prompts: a tuned tower, a denoiser before it."""
    return rivals(*phantoms(options), "phantoms", "prompts", options)


def baselines_isic(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Do the same on the images of the part isic."""
    return rivals(*dermoscopy(options), "ISIC 2017", "isic", options)


def dermoscopy(options: argparse.Namespace) -> tuple[Any, Pairs, Pairs]:
    """Load the tiny model, and ISIC 2017 to learn from and to certify."""
    vlm, sizes = medadv.load("tiny", device=options.device), {"train": options.train, "test": options.images}
    parts = {s: cache(opened("isic2017_256", narrowed(options, k), split=s)) for s, k in sizes.items()}
    return vlm, parts["train"], parts["test"]


def phantoms(options: argparse.Namespace) -> tuple[Any, Pairs, Pairs]:
    """Load the tiny model, phantoms to learn from, and held-out ones."""
    vlm = medadv.load("tiny", device=options.device)
    train = cache(medadv.phantoms(options.train, seed=options.seed))
    return vlm, train, cache(medadv.phantoms(options.images, start=1_000_000, seed=options.seed))


if __name__ == "__main__":
    raise SystemExit(main())
