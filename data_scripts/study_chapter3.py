"""Run the study behind the third chapter and store its table.

    python data_scripts/study_chapter3.py               # three seeds of 200 phantoms with five captions each
    python data_scripts/study_chapter3.py --part 1      # the attacks of one seed only, to run several side by side
    python data_scripts/study_chapter3.py --second      # also score a second Med-VLM, trained first (450 steps)
    python data_scripts/study_chapter3.py --limit 40    # a trial

Each stage goes on where a killed run left off: attack the tiny Med-VLM (about three minutes for each seed on a free
core), score it and a linear reader, with --second also a ConvNeXt trained on phantoms. Rules for what agrees with a
paper were fixed before the first run; see `said`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _chapter2 import finding, share
from _chapter3 import Found, attack_all, both_ways, otherwise, places, second_model

import medadv
from medadv._provenance import provenance
from medadv.course.ch03.helpers import LinearReader
from medadv.course.study import store
from medadv.data.tidy import cache
from medadv.evaluate.intervals import Estimate, weighted
from medadv.reports.report import Report

SEEDS, CAPTIONS, THREAT = (0, 1, 2), 5, "linf:1/255"
SHOWN = ("separate", "Co-Attack", "Co-Attack, whole set", "SGA")


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run the study or one part of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=int, choices=SEEDS, help="attack the phantoms of this seed and stop")
    parser.add_argument("--limit", type=int, help="use so many images only, for a trial")
    parser.add_argument("--second", action="store_true", help="train a second Med-VLM and score it too")
    parser.add_argument("--images", type=int, default=40_000, help="training phantoms of the second model")
    parser.add_argument("--readable", type=int, default=3000, help="training phantoms of the linear reader")
    parser.add_argument("--steps", type=int, default=450, help="training steps of the second model")
    parser.add_argument("--phantoms", type=Path, default=Path("runs/tiny/phantoms"), help="where those lie or go")
    parser.add_argument("--out", type=Path, default=Path("book/03_multimodal_attacks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/chapter3"))
    options = parser.parse_args(arguments)
    line = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python data_scripts/study_chapter3.py", *line])
    made = provenance(command=command, seed=0)  # before the work: the commit it ran from
    options.work.mkdir(parents=True, exist_ok=True)
    n = options.limit or 200
    if options.part is not None:
        attacked(options.work, options.part, n)
        return 0
    reader = LinearReader(cache(medadv.phantoms(options.readable)))
    models = {"tiny": medadv.load("tiny", device="cpu"), reader.name: reader}
    if options.second:
        how = {"phantoms": options.phantoms, "images": options.images, "steps": options.steps}
        models["second Med-VLM"] = second_model(options.work, **how)
    counted, changed, n_texts = gather(options.work, n, models)
    other = list(models)[-1]
    rows, said = table(counted, changed, other, 5)  # weaker readers than the tiny model: recall at 5
    settings = {"images, each seed": n, "texts, each seed": n_texts, "seeds": list(SEEDS), "threat": THREAT}
    settings |= {"words": 1, "steps": 10, "attacked": "tiny", "also scored": ", ".join(list(models)[1:])}
    report = Report(tuple(rows), settings, made)
    title = "Retrieval under attack, phantoms"
    store(report, options.out / "pairs_attacked.json", title=title, findings=said, study=main)
    print(report)
    return 0


def attacked(work: Path, seed: int, n: int) -> tuple[Found, torch.Tensor, list[str]]:
    """Attack the phantoms of one seed, or read what an earlier call found: (found, owner, patients)."""
    pairs = cache(medadv.phantoms(n, start=1_000_000, seed=seed))
    owner = torch.arange(n).repeat_interleave(CAPTIONS)
    path = work / f"attacked_{seed}_{n}.pt"
    if not path.is_file():
        image = pairs.batch(range(n)).image
        text = [caption for row in pairs.rows for caption in row.captions[:CAPTIONS]]
        vlm = medadv.load("tiny", device="cpu")
        found = attack_all(vlm, image, text, owner, threat=THREAT, seed=seed)
        torch.save(found, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
    found = torch.load(path, weights_only=True)
    return found, owner, [f"{seed}/{patient}" for patient in pairs.patients]


def gather(work: Path, n: int, models: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray], int]:
    """Score all seeds on both models: numbers for each image, pooled, and which texts mean something else."""
    counted: dict[str, list] = {"patient": []}
    changed: dict[str, list] = {}
    for seed in SEEDS:
        found, owner, patients = attacked(work, seed, n)
        counted["patient"].append(np.array(patients))
        for model, vlm in models.items():
            scored = places(vlm, found, owner)
            for key in {key.rsplit("|", 1)[0] for key in scored}:
                name, side = key.split("|")
                for k in (1, 5):
                    one = both_ways(scored, name, side, owner.numpy(), k=k)
                    counted.setdefault(f"{model}|{key}|{k}", []).append(one)
                    for way in ("i2t", "t2i"):
                        hit = scored[f"{key}|{way}"] < k
                        own = hit if way == "i2t" else np.bincount(owner.numpy(), hit) / CAPTIONS
                        counted.setdefault(f"{model}|{key}|{k}|{way}", []).append(own.astype(float))
            if model == "tiny":
                for name in SHOWN:
                    lists = [scored[f"{a}|i2t"] < 1 for a in _cases(name)]
                    texts = [scored[f"{a}|t2i"] < 1 for a in _cases(name)]
                    whole = np.bincount(owner.numpy(), np.logical_and.reduce(texts)) / CAPTIONS
                    worst = (np.logical_and.reduce(lists) + whole) / 2
                    counted.setdefault(f"tiny|{name}|worst|1", []).append(worst)
        for name in found:
            if name != "none":
                other = otherwise(found["none"][1], found[name][1])
                changed.setdefault(name, []).append(np.bincount(owner.numpy(), other) / CAPTIONS)
    pooled = {key: np.concatenate(parts) for key, parts in counted.items()}
    return pooled, {key: np.concatenate(parts) for key, parts in changed.items()}, n * CAPTIONS


def _cases(name: str) -> list[str]:
    return ["none|nothing", *(f"{name}|{side}" for side in ("image", "text", "both"))]


def table(
    counted: dict[str, np.ndarray], changed: dict[str, np.ndarray], other: str, k: int
) -> tuple[list[dict], list[dict]]:
    """Write the rows, and what they say of papers; transfer is to the model `other`, counted by recall at k."""
    who, rows = counted["patient"], []

    def rate(key: str) -> Estimate:
        return share(counted[key], patients=who, seed=0)

    def minus(first: str, second: str, third: str = "", fourth: str = "") -> Estimate:
        """The first minus the second, minus twice what the fourth falls short of the third."""
        many = counted[first] - counted[second]
        if third:
            many = many - 2 * (counted[third] - counted[fourth])
        return share(many, patients=who, seed=0)

    def over(top: tuple[str, str], bottom: tuple[str, str]) -> Estimate:
        a, b = (counted[x] - counted[y] if y else counted[x] for x, y in (top, bottom))
        return weighted(lambda c: (c @ a) / (c @ b), len(a), groups=who, seed=0)

    for key in sorted(key for key in counted if key.count("|") == 3 or "|worst|" in key):
        model, name, side, many = key.split("|")
        if side in ("image", "both", "worst") and name not in (*SHOWN, "none"):
            continue
        ways = [""] if side == "worst" else ["", "|i2t", "|t2i"]
        for way in ways:
            cells = {"model": model, "attack": name, "changed": side, "metric": f"recall@{many}"}
            direction = way[1:] or "both, mean"
            rows.append({**cells, "direction": direction, "estimate": rate(key + way)})
    for name, part in changed.items():
        cells = {"model": "-", "attack": name, "changed": "text", "metric": "texts that mean something else"}
        rows.append({**cells, "direction": "-", "estimate": share(part, patients=who, seed=0)})
    return rows, said(minus, over, other, k)


def said(minus, over, other: str, k: int) -> list[dict[str, Any]]:
    """Compare with papers; each rule is the last argument of a line."""
    clean, there = "tiny|none|nothing|1", f"{other}|none|nothing|{k}"

    def away(name: str, side: str) -> str:
        return f"{other}|{name}|{side}|{k}"

    left = over(("tiny|separate|image|1", ""), (clean, ""))
    one = minus(clean, "tiny|separate|text|1")
    two = minus("tiny|separate|text|1", "tiny|two words|text|1")
    cross = minus(there, away("separate", "text"), there, away("separate", "image"))
    some = minus(away("separate", "image"), away("separate", "text"))
    co = minus("tiny|separate|both|1", "tiny|Co-Attack|both|1")
    set_level = minus("tiny|Co-Attack|both|1", "tiny|SGA|both|1")
    far = minus(away("Co-Attack", "both"), away("SGA", "both"))
    guide = minus(away("Co-Attack", "both"), away("Co-Attack, whole set", "both"))
    budget = "mean recall@1 of both directions, 1/255, one word"
    on = f"{other}, recall@{k}"
    return [
        finding("lu2023sga", "an undefended model collapses under an attack on its images",
                f"share of the clean recall that is left, images changed, {budget}; less than a tenth", left,
                left.high < 0.1, left.high < 0.5),
        finding("li2020bertattack", "one changed word is enough to hurt",
                f"lost with one word in each text changed, {budget}; 25 points", one, one.low > 0.25, one.low > 0),
        finding("li2020bertattack", "more changed words hurt more", "lost to a second word, recall@1", two,
                two.low > 0),
        finding("zhang2022coattack", "Co-Attack finds more than separate attacks of the same budget",
                f"recall left by separate attacks minus that left by Co-Attack, {budget}", co, co.low > 0),
        finding("lu2023sga", "SGA finds more than Co-Attack where it was made",
                f"recall left by Co-Attack minus that left by SGA, {budget}", set_level, set_level.low > 0),
        finding("lu2023sga", "changed texts transfer better than changed images",
                f"recall lost on another model ({on}), to texts minus twice that to images", cross,
                cross.low > 0, some.low > 0),
        finding("lu2023sga", "SGA transfers better than Co-Attack",
                f"recall on another model ({on}), left by Co-Attack minus left by SGA", far, far.low > 0),
        finding("lu2023sga", "guidance by the whole set of captions helps transfer",
                f"recall on another model ({on}), left by Co-Attack guided by one caption minus by all", guide,
                guide.low > 0),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
