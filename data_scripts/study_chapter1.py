"""Run the studies behind the first chapter at full size and store their tables.

    python data_scripts/study_chapter1.py                # phantoms: 5,000 held-out images
    python data_scripts/study_chapter1.py --isic         # ISIC 2017, needs MEDADV_DATA
    python data_scripts/study_chapter1.py --hannover     # Hannover chest radiographs, needs MEDADV_DATA
    python data_scripts/study_chapter1.py --limit 200    # a trial of any part

Each part takes up to about ten minutes on two cores and writes one file below --out. Everything that is chosen is
chosen on validation data; a run scores the test images once, at its end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _chapter1 import (
    STRENGTHS,
    chosen_linear,
    drop,
    finding,
    findings,
    opened,
    pixels_of,
    place,
    rows_of,
    step_rows,
)
from tqdm.auto import tqdm

import medadv
from medadv._provenance import provenance
from medadv.course import baselines
from medadv.course.ch01 import helpers, pitfalls
from medadv.course.study import store
from medadv.data.pairs import Pairs
from medadv.data.tidy import cache, grouped_folds
from medadv.evaluate.metrics import accuracy, paired_difference
from medadv.models import ZeroShot, fit_probe, image_features
from medadv.reports.adaptation import adapt_report, folds_report, within
from medadv.reports.classification import classify_report, predict
from medadv.reports.report import Report
from medadv.reports.retrieval import retrieve_report


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--isic", action="store_true", help="adaptation to ISIC 2017")
    part.add_argument("--hannover", action="store_true", help="the ICU label of the Hannover radiographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use so many images only, for a trial")
    parser.add_argument("--steps", type=int, help="steps of fine-tuning, for real images")
    parser.add_argument("--out", type=Path, default=Path("book/01_medvlm/results"))
    options = parser.parse_args(arguments)
    run = isic if options.isic else hannover if options.hannover else phantom_study
    line = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python data_scripts/study_chapter1.py", *line])
    options.made = provenance(command=command, seed=options.seed)  # before the work: the commit it runs from
    options.steps = options.steps or (200 if options.hannover else 500)  # five folds are five trainings
    try:
        name, title, report, findings = run(options)
    except (ValueError, OSError) as error:
        print(f"study_chapter1: {error}", file=sys.stderr)
        return 2
    store(report, options.out / name, title=title, findings=findings, study=run)
    print(report)
    return 0


def phantom_study(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Zero-shot, retrieval, trivial baselines, noise and gradient steps on held-out phantoms."""
    n = options.limit or 5000
    vlm = medadv.load("tiny", device="cpu")
    held = cache(medadv.phantoms(n, start=1_000_000, seed=options.seed))
    train = cache(medadv.phantoms(2 * n, seed=options.seed))
    val = cache(medadv.phantoms(n // 2, start=2_000_000, seed=options.seed))
    sets = {"train": train, "val": val, "test": held}
    pixels = {k: pixels_of(p) for k, p in sets.items()}
    rows: list[dict[str, Any]] = []

    def add(subject: str, output: torch.Tensor, data: Pairs = held, both: bool = True) -> None:
        who = {"groups": data.patients, "seed": options.seed}
        rows.append({"subject": subject, "metric": "accuracy", "estimate": accuracy(output, data.labels, **who)})
        if both:
            inside = accuracy(pitfalls.within_modality(output, data), data.labels, **who)
            rows.append({"subject": subject, "metric": "accuracy, kind of image known", "estimate": inside})

    for name, view in {
        "mean colour": baselines.mean_colour,
        "linear on pixels, 32 x 32": baselines.small_pixels,
    }.items():
        add(name, chosen_linear(view, pixels, sets))
    head = ZeroShot.from_prompts(vlm, held.prompts)
    feature = image_features(vlm, held)
    zero = head.from_features(feature)
    add("tiny, zero-shot", zero)
    probes = [fit_probe(vlm, train, C=c) for c in STRENGTHS]
    known = image_features(vlm, val)
    best = max(probes, key=lambda p: accuracy(p.from_features(known).detach(), val.labels).value)
    linear = best.from_features(feature).detach()
    add("tiny, linear probe", linear)
    for name, estimate in pitfalls.by_modality(zero, held).items():
        rows.append({"subject": f"tiny, zero-shot, {name}", "metric": "accuracy", "estimate": estimate})
    for name, phrases in helpers.wordings().items():
        add(f"wording: {name}", ZeroShot.from_prompts(vlm, phrases).from_features(feature))
    for sigma in tqdm((0.05, 0.1, 0.25), desc="noise"):
        shaken = image_features(vlm, pitfalls.noisy(pixels["test"], sigma, seed=options.seed))
        add(f"noise, sigma {sigma}", head.from_features(shaken), both=False)
    few = held.select(range(min(n, 1000)))
    rows += step_rows(head, few, options.seed)
    for row in retrieve_report(vlm, few, captions=5, k=(1, 5), seed=options.seed).rows:
        what = f"{row['metric']} {row['direction']}, {row['right']}"
        rows.append({"subject": f"retrieval among {len(few)}", "metric": what, "estimate": row["estimate"]})
    settings = {"held out": n, "train": 2 * n, "val": n // 2, "attacked": len(few), "steps": 5}
    report = Report(tuple(rows), settings, options.made)
    said = findings(vlm, held, feature, zero, linear, seed=options.seed)
    return "phantoms_tiny.json", "The tiny Med-VLM on phantoms", report, said


def isic(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Adapt to ISIC 2017 on train, choose on val, score the official test split once."""
    vlm = medadv.load("tiny", device="cpu")
    parts = {s: cache(opened("isic2017_256", options, split=s)) for s in ("train", "val", "test")}
    test, label = parts["test"], parts["test"].labels
    rows = rows_of("tiny, zero-shot", predict(ZeroShot.from_prompts(vlm, test.prompts), test), test, options.seed)
    pixels = {k: pixels_of(p) for k, p in parts.items()}
    rows += rows_of("mean colour", chosen_linear(baselines.mean_colour, pixels, parts), test, options.seed)
    views = {k: torch.cat([baselines.colour_texture(p) for p in x.split(64)]) for k, x in pixels.items()}
    forest = baselines.fit_forest(
        views["train"], parts["train"].labels, views["test"], classes=len(test.classes), seed=options.seed
    )
    rows += rows_of("random forest, colour and texture", forest, test, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        done = adapt_report(vlm, *parts.values(), folder=folder, seed=options.seed, steps=options.steps)["test"]
    output = np.array(done.raw["output"])
    rows += rows_of("tiny, adapted", output, test, options.seed)
    gain = paired_difference("macro AUC", forest.numpy(), output, label, seed=options.seed)
    rows.append({"subject": "tiny, adapted, minus random forest", "metric": "macro AUC", "estimate": gain})
    facts = {k: done.settings[k] for k in ("method", "chosen", "tried") if k in done.settings}
    settings = {"data": test.name, "images": len(test), "steps": options.steps, "split": "test", **facts}
    report = Report(tuple(rows), settings, options.made)
    return "isic2017_tiny.json", "ISIC 2017, official test split", report, []


def hannover(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Five folds of patients; all images, AP images only, and the projection by itself."""
    vlm = medadv.load("tiny", device="cpu")
    pairs = cache(opened("mhh_covid_cxr", options))
    done = folds_report(vlm, pairs, folds=5, within="projection", seed=options.seed, steps=options.steps, upright=True)
    rows = [
        {"subject": place(row["projection"], "tiny"), "metric": row["metric"], "estimate": row["estimate"]}
        for row in done["within_projection"].rows
    ]
    view, fold = baselines.colour_texture(pixels_of(pairs)), grouped_folds(pairs, k=5, seed=options.seed)
    output = torch.zeros(len(pairs), len(pairs.classes))
    for k in tqdm(range(5), desc="forest"):
        seen = (fold != k) & (pairs.labels >= 0)
        many = {"classes": len(pairs.classes), "seed": options.seed}
        output[fold == k] = baselines.fit_forest(view[seen], pairs.labels[seen], view[fold == k], **many)
    forest = classify_report(output, pairs, seed=options.seed)
    for row in within(forest, pairs, "projection", seed=options.seed).rows[:-1]:
        name = place(row["projection"], "random forest")
        rows.append({"subject": name, "metric": row["metric"], "estimate": row["estimate"]})
    fell = drop(np.array(done["folds"].raw["output"]), pairs, options.seed)
    rows.append({"subject": "tiny, all images minus inside AP", "metric": "macro AUC", "estimate": fell})
    settings = {"data": pairs.name, "images": len(pairs), "folds": 5, "steps": options.steps}
    kept = tuple(row for row in rows if row["estimate"].value == row["estimate"].value)  # PA images: one class only
    report = Report(kept, settings, options.made)
    words = "classifiers of radiographs use how and where the image was taken: the score falls once that is held fixed"
    return (
        "hannover_icu_tiny.json",
        "Intensive care or not, Hannover radiographs, five folds of patients",
        report,
        [finding("zech2018", words, "macro AUC lost inside AP images", fell)],
    )


if __name__ == "__main__":
    raise SystemExit(main())
