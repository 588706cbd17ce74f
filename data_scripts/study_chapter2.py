"""Run the studies behind the second chapter and store their tables.

    python data_scripts/study_chapter2.py                # phantoms: three seeds of 80 held-out images
    python data_scripts/study_chapter2.py --isic         # ISIC 2017, needs MEDADV_DATA
    python data_scripts/study_chapter2.py --limit 12     # a trial of any part

Each part takes some minutes on one core and writes one file below --out. The rules by which a finding
holds stand in this file and were fixed before the first run at full size. Models that are trained on the way are kept
below --work, so that a run that was stopped does not train them again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _chapter2 import (
    adapted_head,
    crossing,
    finding,
    one_for_all,
    second_model,
    share,
    tied,
    under_threat,
    wins,
    wrong,
)
from tqdm.auto import tqdm

import medadv
from medadv._provenance import provenance
from medadv.attacks import pgd, square, suite
from medadv.course.ch02 import pitfalls
from medadv.course.study import store
from medadv.data import load
from medadv.data.tidy import cache
from medadv.evaluate.metrics import accuracy, balanced_accuracy
from medadv.models import ZeroShot
from medadv.objective import classify, margin
from medadv.reports.report import Report
from medadv.threat import Threat

SEEDS = (0, 1, 2)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isic", action="store_true", help="the adapted model on ISIC 2017")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use so many images only, for a trial")
    parser.add_argument("--out", type=Path, default=Path("book/02_attacks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/chapter2"))
    options = parser.parse_args(arguments)
    line = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python data_scripts/study_chapter2.py", *line])
    options.made = provenance(command=command, seed=options.seed)  # before the work: the commit it runs from
    try:
        name, title, report, findings = (isic if options.isic else phantoms)(options)
    except (ValueError, OSError) as error:
        print(f"study_chapter2: {error}", file=sys.stderr)
        return 2
    store(report, options.out / name, title=title, findings=findings, study=isic if options.isic else phantoms)
    print(report)
    return 0


def phantoms(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """Every attack of the chapter on held-out phantoms of three seeds, pooled; patients are resampled as a whole."""
    n, small = options.limit or 80, options.limit is not None
    vlm = medadv.load("tiny", device="cpu")
    other = second_model(options.work, images=500 if small else 10_000, steps=10 if small else 400)
    hits: dict[str, list[np.ndarray]] = {}
    who: dict[str, list[str]] = {}

    def keep(found: dict[str, np.ndarray], pairs: Any, seed: int) -> None:
        for name, values in found.items():
            hits.setdefault(name, []).append(values)
            who.setdefault(name, []).extend(f"{seed} {patient}" for patient in pairs.patients[: len(values)])

    for seed in tqdm([options.seed + s for s in SEEDS], desc="seeds"):
        pairs = cache(medadv.phantoms(n, start=1_000_000, seed=seed), progress=False)
        train = cache(medadv.phantoms(2 * n, start=0, seed=seed), progress=False)
        chests = cache(medadv.phantoms(n // 2, start=1_000_000, seed=seed, modalities=("chest",)), progress=False)
        head = ZeroShot.from_prompts(vlm, pairs.prompts)
        on_chests = ZeroShot.from_prompts(vlm, chests.prompts)
        image, label = pairs.batch(range(n)).image, pairs.labels
        keep(wins(head, image, label, seed), pairs, seed)
        keep(crossing(head, other, image, label, seed), pairs, seed)
        keep(one_for_all(head, pairs, train, seed), pairs, seed)
        keep(tied(on_chests, chests, seed), chests, seed)
        few, threat = max(4, n // 3), Threat.parse("linf:8/255")
        draw = torch.Generator().manual_seed(seed)
        blind = square(margin(head, label[:few]), image[:few], threat, queries=20 if small else 1000, generator=draw)
        keep({f"Square-1000|{threat}": blind.won.numpy().astype(float)}, pairs, seed)
        hard = "linf:2/255"
        whole = suite(head, image[:few], label[:few], Threat.parse(hard), seed=seed)
        keep({f"suite|{hard}": whole.won.numpy().astype(float)}, pairs, seed)

    def rate(name: str) -> Any:
        return share(np.concatenate(hits[name]), patients=who[name], seed=options.seed)

    def less(first: str, second: str) -> Any:
        """How much more often the second fools than the first, on the images that both saw."""
        both = [b - a[: len(b)] for a, b in zip(hits[first], hits[second], strict=True)]
        return share(np.concatenate(both), patients=who[second], seed=options.seed)

    rows = [{"attack": "none", "threat": "none", "metric": "accuracy", "estimate": kept(rate("clean"))}]
    for name in hits:
        attack, _, rest = name.partition("|")
        threat, _, place = rest.partition(", ")
        if rest:
            fooled = bool(place) or attack in ("universal", "one random pattern")
            metric = f"fooled of those right{', ' * bool(place)}{place}" if fooled else "robust accuracy"
            estimate = rate(name) if fooled else kept(rate(name))
            rows.append({"attack": attack, "threat": threat, "metric": metric, "estimate": estimate})
    settings = {"held out, each seed": n, "seeds": [options.seed + s for s in SEEDS], "second model": "plain network"}
    report = Report(tuple(rows), settings, options.made)
    return "phantoms_attacked.json", "The tiny Med-VLM under attack, phantoms", report, said(rate, less)


def kept(lost: Any) -> Any:
    """Turn an estimate of what was lost into one of what is left."""
    return type(lost)(1 - lost.value, 1 - lost.high, 1 - lost.low, lost.n, lost.level, lost.method)


def said(rate, less) -> list[dict[str, Any]]:
    """Compare with papers; each rule is the last argument of a line."""
    steps = less("FGSM|linf:2/255", "PGD-20|linf:2/255")
    auto = less("PGD-30|linf:1/255", "APGD-30|linf:1/255")
    flat = less("PGD-20, logits x 1000, cross-entropy|linf:1/255", "PGD-20, logits x 1000, margin|linf:1/255")
    left = kept(rate("PGD-20|linf:4/255"))
    home, away = ("PGD-10|linf:4/255, " + place for place in ("at home", "on the other model"))
    cross = less(away, home)
    speed = less(away, "MI-FGSM-10|linf:4/255, on the other model")
    many = rate("universal|linf:8/255")
    beyond = less("one random pattern|linf:8/255", "universal|linf:8/255")
    blind = rate("Square-1000|linf:8/255")
    worst = less("PGD-20|linf:2/255", "suite|linf:2/255")
    return [
        finding("madry2018pgd", "many small steps find more than one large one",
                "share of phantoms lost to PGD-20 beyond FGSM, 2/255", steps, steps.low > 0),
        finding("croce2020autoattack", "APGD finds at least as much as PGD for the same number of steps",
                "share lost to APGD-30 beyond PGD-30, 1/255; one point less would do", auto, auto.low > -0.01,
                auto.value > -0.01),
        finding("croce2020autoattack", "scaled logits blind the cross-entropy, not the margin (DLR)",
                "share lost to PGD-20 on the margin beyond the cross-entropy, logits x 1000, 1/255", flat,
                flat.low > 0),
        finding("croce2020autoattack", "the worst of several attacks is stronger than PGD alone",
                "share lost to the suite beyond PGD-20, 2/255", worst, worst.low > 0),
        finding("tame2025", "undefended, a CLIP-like Med-VLM is near zero under PGD",
                "accuracy left by PGD-20, tiny Med-VLM on phantoms, 4/255", left, left.high < 0.05, left.high < 0.25),
        finding("lu2023sga", "attacks succeed far less on another model than at home",
                "fooled at home minus on a plain network, PGD-10, 4/255; far means a quarter", cross,
                cross.low > 0.25, cross.low > 0),
        finding("dong2018momentum", "momentum makes attacks transfer better",
                "fooled on a plain network, MI-FGSM-10 minus PGD-10, 4/255", speed, speed.low > 0),
        finding("moosavi2017universal", "one perturbation fools most images it has never seen",
                "fooled of the held-out phantoms that were right, 8/255", many, many.low > 0.5, beyond.low > 0),
        finding("andriushchenko2020square", "an attack without gradients breaks an undefended model",
                "share of phantoms wrong after Square with 1,000 queries, 8/255; nine in ten", blind, blind.low > 0.9,
                blind.low > 0.5),
    ]  # fmt: skip


def isic(options: argparse.Namespace) -> tuple[str, str, Report, list[dict]]:
    """The model adapted to ISIC 2017 on the official test split: accuracy, balanced accuracy, and each finding."""
    parts = {s: cache(load("isic2017_256", size=64, split=s, n=options.limit)) for s in ("train", "val", "test")}
    folder = options.work / f"isic_{options.seed}{'' if options.limit is None else f'_{options.limit}'}"
    head, test = adapted_head(*parts.values(), folder, seed=options.seed), parts["test"]
    image, label = test.batch(range(len(test))).image, test.labels
    rows: list[dict[str, Any]] = []

    def note(attack: str, threat: str, output: torch.Tensor) -> None:
        for name, metric in (("accuracy", accuracy), ("balanced accuracy", balanced_accuracy)):
            estimate = metric(output, label, groups=test.patients, seed=options.seed)
            rows.append({"attack": attack, "threat": threat, "metric": name, "estimate": estimate})

    note("none", "none", pitfalls.logits_of(head, image))
    always = torch.nn.functional.one_hot(label.bincount().argmax(), len(test.classes)).expand(len(label), -1)
    note(f"none, always {test.classes[int(always[0].argmax())]}", "none", always.float())
    threats = [f"linf:{e}/255" for e in ("0.25", "0.5", "1", "2", "4")]
    for text in tqdm(threats, desc="threats"):
        draw, moved = torch.Generator().manual_seed(options.seed), []
        for part in torch.arange(len(image)).split(100):
            want = classify(head, label[part])
            moved.append(pgd(want, image[part], Threat.parse(text), steps=10, generator=draw).image)
        note("PGD-10", text, pitfalls.logits_of(head, torch.cat(moved)))
    left = wrong(head, torch.cat(moved), label)
    rows += under_threat(head, test, test.classes.index("melanoma"), threats[1:3], options.seed)
    few = torch.arange(len(image))[:: max(1, len(image) // 50)]
    found = suite(head, image[few], label[few], Threat.parse("linf:0.5/255"), seed=options.seed)
    whole = share((~found.won).numpy(), patients=[test.patients[i] for i in few.tolist()], seed=options.seed)
    rows.append({"attack": "suite", "threat": "linf:0.5/255", "metric": "accuracy", "estimate": whole})
    estimate = kept(share(left, patients=test.patients, seed=options.seed))
    settings = {"data": test.name, "images": len(test), "split": "test", "method": "probe, chosen on val"}
    report = Report(tuple(rows), settings, options.made)
    what = "accuracy left by PGD-10, adapted model, official test split, 4/255; below 5 %"
    line = "white-box PGD leaves no dermoscopic image right"
    return (
        "isic2017_attacked.json",
        "The adapted model under attack, ISIC 2017, official test split",
        report,
        [finding("finlayson2019", line, what, estimate, estimate.high < 0.05, estimate.high < 0.25)],
    )


if __name__ == "__main__":
    raise SystemExit(main())
