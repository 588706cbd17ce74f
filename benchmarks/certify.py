"""Our certification beside the loop the field uses, on the same model, images and draws, in one run.

    python benchmarks/certify.py             # writes results/certify.json and certify.md; half an hour on a core
    python benchmarks/certify.py --parts heads training      # these parts; the others in the file stay as they are
    python benchmarks/certify.py --quick     # a smoke run

Parts: loop (one head, CERTIFY as locuslab/smoothing and PromptSmooth write it, and ART if it is installed), tests
(planned looks and the ladder against all votes), heads (eight on one pass), training (few-shot prompts on cached noisy
embeddings against CoOp's loop, of which some steps are measured and the rest is multiplied). On the CPU seconds are
those of the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _certify_bars import markdown, verdicts
from _measure import peak, reset_peak, timed
from _plain_certify import art_runner, art_version, fresh_noise, plain_certify, text_each_batch
from _prompt_training import training
from torch import Tensor

import medadv
from medadv._atomic import write_text
from medadv._images import noisy_pixels
from medadv._provenance import provenance
from medadv.certify.noise_stream import Noise
from medadv.certify.smooth import certify
from medadv.data.tidy import cache
from medadv.models import ZeroShot

SIGMA, ALPHA, BATCH = 0.1, 0.001, 100
WORDS = ("{}.", "an image of {}.", "a scan showing {}.", "a picture of {}.", "this is {}.", "{} can be seen.",
         "findings: {}.", "a medical image showing {}.")  # fmt: skip


def world(images: int) -> tuple[Any, list[str], Tensor, Tensor]:
    """Load the tiny model and held-out phantoms."""
    vlm = medadv.load("tiny", device="cpu")
    data = cache(medadv.phantoms(images, start=1_000_000, seed=0), progress=False)
    return vlm, list(data.prompts), data.batch(range(images)).image, data.labels


def loop(*, images: int, n: int, repeats: int) -> list[dict[str, Any]]:
    """One head, all n votes: seconds, memory, and whether the counts are the same on the same noise."""
    vlm, words, image, _ = world(images)
    head, n0 = ZeroShot.from_prompts(vlm, words, templates=("{}.",)), 100
    texts = [f"{word}." for word in words]

    def ours(x: Tensor, ids: list[int]) -> list[tuple[int, float, int]]:
        made = certify(head, x, sigma=SIGMA, n0=n0, n=n, alpha=ALPHA, ids=ids, batch_size=BATCH, progress=False)
        return [(one.predicted, one.radius, one.count) for one in made]

    def plain(classify: Callable, same: bool) -> Callable:
        def run(x: Tensor, ids: list[int]) -> list[tuple[int, float, int]]:
            found = []
            for one, i in zip(x, ids, strict=True):
                roles = ("select", "estimate")
                draw = {role: fresh_noise(one, SIGMA, BATCH, seed=2 * i + k) for k, role in enumerate(roles)}
                if same:
                    for role in draw:
                        noise = Noise(0, i, SIGMA, role, tuple(one.shape))
                        draw[role] = lambda many, noise=noise: noise.batches(0, many, size=BATCH)
                with noisy_pixels():
                    found.append(plain_certify(classify, one, **draw, classes=len(words), n0=n0, n=n, alpha=ALPHA,
                                               sigma=SIGMA))  # fmt: skip
            return found

        return run

    runs: dict[str, Callable] = {
        "medadv": ours,
        "CERTIFY loop, same noise": plain(head, True),
        "CERTIFY loop, torch's noise": plain(head, False),
        "CERTIFY loop, text in every batch (PromptSmooth)": plain(text_each_batch(vlm, texts), False),
    }
    if (art := art_runner(head, len(words), sigma=SIGMA, alpha=ALPHA, n0=n0, n=n, batch=BATCH)) is not None:
        runs["ART"] = lambda x, ids: art(x)
    took: dict[str, dict[str, list]] = {name: {"seconds": [], "MB": [], "found": []} for name in runs}
    for name in runs:  # the first pass of anything is slower
        runs[name](image[:1], [0])
    for turn in range(repeats):
        names = list(runs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            held = reset_peak(torch.device("cpu"))
            found, seconds, _ = timed(lambda name=name: runs[name](image, [*range(images)]), torch.device("cpu"))
            top = peak(torch.device("cpu"))
            took[name]["seconds"].append(seconds)
            took[name]["MB"].append(0.0 if held is None or top is None else (top - held) / 1e6)
            took[name]["found"] = found
    mine, rows = took["medadv"], []
    for name, one in took.items():
        ratios = [a / b for a, b in zip(mine["seconds"], one["seconds"], strict=True)]
        equal = [a[::2] == b[::2] for a, b in zip(mine["found"], one["found"], strict=True)] if "same" in name else []
        rows.append({"part": "loop", "runner": name, "images": images, "draws": n0 + n, "repeats": repeats,
                     "seconds": round(median(one["seconds"]), 3), "peak_MB": round(median(one["MB"]), 1),
                     "ratio": [round(v, 3) for v in (median(ratios), min(ratios), max(ratios))],
                     "equal": f"{sum(equal)} of {len(equal)}" if equal else ""})  # fmt: skip
    return rows


def looks(*, images: int, n: int, many: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """Planned looks and the ladder against all n votes: draws, seconds, and how often the answer is the same.

    `many` repeats it with (images, n) of another size.
    """
    vlm, words, image, _ = world(images)
    common: dict[str, Any] = {"sigma": SIGMA, "n": n, "alpha": ALPHA, "batch_size": BATCH, "progress": False}
    head = ZeroShot.from_prompts(vlm, words)
    whole, seconds, _ = timed(lambda: certify(head, image, **common), torch.device("cpu"))
    rows = [{"part": "tests", "runner": f"all {n} votes", "images": images, "draws": n + 100,
             "seconds": round(seconds, 3), "equal": ""}]  # fmt: skip
    grid = [k * SIGMA / 4 for k in range(1, 11)]
    for share in (0.25, 0.5, 1.0, 2.0):
        r = share * SIGMA
        made, spent, _ = timed(
            lambda r=r: certify(head, image, method="target", radii=r, **common), torch.device("cpu")
        )
        same = sum((a.predicted >= 0) == (b.predicted >= 0 and b.radius >= r) for a, b in zip(made, whole, strict=True))
        rows.append(_saved(f"planned looks at {share:g} sigma, n = {n:,}", made, whole, spent, seconds, same))
    made, spent, _ = timed(lambda: certify(head, image, method="ladder", radii=grid, **common), torch.device("cpu"))
    down = [max([r for r in grid if r <= one.radius], default=0.0) for one in whole]
    same = sum(abs(one.radius - r) < 1e-9 for one, r in zip(made, down, strict=True))
    rows.append(_saved(f"ladder of ten radii, n = {n:,}", made, whole, spent, seconds, same))
    return rows + (looks(images=many[0], n=many[1]) if many else [])


def _saved(name: str, made: list, whole: list, spent: float, seconds: float, same: int) -> dict[str, Any]:
    draws, full = (float(np.mean([one.n0 + one.n for one in some])) for some in (made, whole))
    return {"part": "tests", "runner": name, "images": len(made), "draws": round(draws, 1), "seconds": round(spent, 3),
            "times_fewer": round(full / draws, 2), "times_faster": round(seconds / spent, 2),
            "equal": f"{same} of {len(made)}"}  # fmt: skip


def heads(*, images: int, n: int, repeats: int, many: int = 8) -> list[dict[str, Any]]:
    """Certify eight heads on one pass, and one of them alone; their certificates must be the same."""
    vlm, words, image, _ = world(images)
    all_of = {template: ZeroShot.from_prompts(vlm, words, templates=(template,)) for template in WORDS[:many]}
    common: dict[str, Any] = {"sigma": SIGMA, "n": n, "alpha": ALPHA, "batch_size": BATCH, "progress": False}
    first = WORDS[0]
    one, every, seconds = [], [], {"one": [], "every": []}
    certify(all_of, image[:1], **common)
    for turn in range(repeats):
        for which in ("one", "every") if turn % 2 else ("every", "one"):
            given = {first: all_of[first]} if which == "one" else all_of
            made, spent, _ = timed(lambda given=given: certify(given, image, **common), torch.device("cpu"))
            seconds[which].append(spent)
            one, every = (made, every) if which == "one" else (one, [c for c in made if c.head == first])
    ratios = [b / a for a, b in zip(seconds["one"], seconds["every"], strict=True)]
    return [{"part": "heads", "runner": f"{many} heads on one pass over one head", "images": images, "draws": n + 100,
             "seconds": round(median(seconds["every"]), 3), "repeats": repeats,
             "ratio": [round(v, 3) for v in (median(ratios), min(ratios), max(ratios))],
             "equal": f"{sum(a == b for a, b in zip(one, every, strict=True))} of {images}"}]  # fmt: skip


PARTS = {
    "loop": (loop, {"images": 4, "n": 1000, "repeats": 3}, {"images": 2, "n": 100, "repeats": 1}),
    "tests": (looks, {"images": 8, "n": 10_000, "many": (3, 100_000)}, {"images": 2, "n": 400}),
    "heads": (heads, {"images": 4, "n": 1000, "repeats": 5}, {"images": 2, "n": 100, "repeats": 1}),
    "training": (
        partial(training, sigma=SIGMA),
        {"shots": 16, "steps": 8, "repeats": 2},
        {"shots": 2, "steps": 1, "repeats": 1, "compare": 20},
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the parts asked for, record them as they come, and say which bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a smoke run; bars mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "certify.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for part in options.parts:
        run, usual, quick = PARTS[part]
        new = run(**(quick if options.quick else usual))  # type: ignore[operator]
        old = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
        rows = [row for row in old if row["part"] != part] + new
        rows.sort(key=lambda row: list(PARTS).index(row["part"]))
        about = provenance(seed=0)
        about |= {"command": "python benchmarks/" + about["command"], "threads": options.threads}
        about["versions"] |= art_version()
        held = verdicts(rows)
        write_text(options.out, json.dumps({"provenance": about, "bars": held, "rows": rows}, indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), markdown(rows, held, about))
        print(markdown(new, [], {}), flush=True)


if __name__ == "__main__":
    main()
