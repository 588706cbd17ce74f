"""Three choices, measured: the default step of PGD, DDN beside other minimal-norm attacks, HopSkipJump beside ART's.

    python benchmarks/searches.py                    # writes results/searches.json and results/searches.md
    python benchmarks/searches.py ddn hopskipjump    # these tables only; the others in the files stay as they are
    python benchmarks/searches.py --quick            # a smoke run of a minute

The subjects are those of attacks.py. Runs take turns within a seed, so that a busy machine is busy for all, and a seed
draws other images too, where an attack draws nothing itself. A distance is that of the point an attack returns; what
is not adversarial counts as infinitely far.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import torch
from _measure import Counted, timed
from _peers import get, minimal_peers, peers, versions
from _subjects import SUBJECTS, correct_images, subject
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.attacks import ddn, hopskipjump, pgd
from medadv.objective import classify
from medadv.threat import Threat

# What a default step may be, in budgets, for so many steps.
STEPS: dict[str, Callable[[int], float]] = {
    "2.5 eps / steps": lambda steps: 2.5 / steps,
    "5 eps / steps, at most eps (default)": lambda steps: min(5 / steps, 1),
    "10 eps / steps, at most eps": lambda steps: min(10 / steps, 1),
    "eps / 4": lambda steps: 0.25,
    "eps": lambda steps: 1.0,
}
PARTS = ("step", "ddn", "hopskipjump")


def step_rows(name: str, *, many: int, seeds: int, steps: int) -> list[dict]:
    """What PGD leaves standing with each candidate, and what the defaults of the other libraries leave."""
    head, threat = subject(name, progress=False)
    image, label = correct_images(head, many=many, seed=1)
    runs = {f"medadv, {rule}": _pgd(share(steps) * threat.eps) for rule, share in STEPS.items()}
    runs |= {f"{library}, its default": run for library, run in peers("pgd-defaults").items()}
    left: dict[str, list[float]] = {runner: [] for runner in runs}
    for seed in range(seeds):
        for runner, run in runs.items():
            adversarial = run(head, image, label, eps=threat.eps, steps=steps, seed=seed)
            with torch.no_grad():
                left[runner].append(float((head(adversarial).argmax(1) == label).float().mean()))
    return [
        {"part": "step", "subject": name, "threat": str(threat), "steps": steps, "images": many, "seeds": seeds,
         "runner": runner, "robust": round(fmean(one), 4), "range": [round(min(one), 4), round(max(one), 4)]}
        for runner, one in left.items()
    ]  # fmt: skip


def _pgd(step: float) -> Callable[..., Tensor]:
    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        return pgd(classify(model, label), image, Threat("linf", eps), steps=steps, step=step, generator=noise).image

    return run


def ddn_rows(name: str, *, many: int, seeds: int, steps: int) -> list[dict]:
    """The L2 distances of minimal-norm attacks, each with the same number of backward passes."""
    head, _ = subject(name, progress=False)

    def ours(model: nn.Module, image: Tensor, label: Tensor, *, steps: int) -> Tensor:
        return ddn(classify(model, label), image, steps=steps).image

    took: dict[str, dict] = {}
    for seed in range(seeds):
        image, label = correct_images(head, many=many, seed=seed + 1)
        for runner, run in {"medadv ddn": ours, **minimal_peers()}.items():
            counted = Counted(head).eval()
            adversarial, seconds, _ = timed(
                lambda run=run, counted=counted, x=image, y=label: run(counted, x, y, steps=steps), image.device
            )
            _note(took, runner, _distance(head, image, adversarial, label, "l2"), seconds, counted)
    return _rows(took, {"part": "ddn", "subject": name, "threat": "l2", "steps": steps, "images": many, "seeds": seeds})


def hopskipjump_rows(name: str, norm: str, *, many: int, seeds: int, rounds: int) -> list[dict]:
    """Distances of ours and ART's for as many queries; `led_back` after a bisection towards the image, which ART's
    last step lacks."""
    head, _ = subject(name, progress=False)
    took: dict[str, dict] = {}
    art = hopskipjump_of_art(norm, rounds) if get("art") is not None else None
    for seed in range(seeds):
        image, label = correct_images(head, many=many, seed=seed + 1)
        queries = 100 * rounds * (rounds + 1) // 2
        if art is not None:
            counted = Counted(head).eval()
            adversarial, seconds, _ = timed(lambda c=counted, x=image, y=label, s=seed: art(c, x, y, s), image.device)
            queries = round(counted.forwards / many)
            _judge(took, "ART hopskipjump", head, image, adversarial, label, norm, seconds, counted)
        counted, noise = Counted(head).eval(), torch.Generator().manual_seed(seed)
        found, seconds, _ = timed(
            lambda c=counted, x=image, y=label, q=queries, g=noise: hopskipjump(
                classify(c, y), x, Threat(norm, 1e-6), queries=q, stop=False, generator=g
            ),
            image.device,
        )
        # The budget is nothing, so the image returned is cut to it: the distance is what the result says.
        _note(took, "medadv hopskipjump", found.eps, seconds, counted)
        took["medadv hopskipjump"]["led_back"].append(found.eps)
    about = {"part": "hopskipjump", "subject": name, "threat": norm, "steps": rounds, "images": many, "seeds": seeds}
    return _rows(took, about)


class Single(nn.Module):
    """A model that takes pixels of any float type: ART's attack mixes in numbers of double precision."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image.float())


def hopskipjump_of_art(norm: str, rounds: int) -> Callable[..., Tensor]:
    """ART's, with its defaults and so many rounds."""
    import numpy as np
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import PyTorchClassifier

    def run(model: nn.Module, image: Tensor, label: Tensor, seed: int) -> Tensor:
        theirs = PyTorchClassifier(
            Single(model), loss=nn.CrossEntropyLoss(), input_shape=tuple(image.shape[1:]), clip_values=(0, 1),
            nb_classes=model(image[:1]).shape[1], device_type="cpu",
        )  # fmt: skip
        kept = np.random.get_state()  # noqa: NPY002  it draws from the global stream
        np.random.seed(seed)  # noqa: NPY002
        try:
            one = HopSkipJump(theirs, norm=2 if norm == "l2" else np.inf, max_iter=rounds, verbose=False)
            return torch.from_numpy(one.generate(image.numpy())).float()
        finally:
            np.random.set_state(kept)  # noqa: NPY002

    return run


def _judge(took, runner, head, image, adversarial, label, norm, seconds, counted) -> None:
    _note(took, runner, _distance(head, image, adversarial, label, norm), seconds, counted)
    low, high = torch.zeros(len(image)), torch.ones(len(image))
    for _ in range(20):
        middle = (low + high) / 2
        between = image + middle.view(-1, 1, 1, 1) * (adversarial - image)
        if norm == "linf":
            reach = middle * (adversarial - image).flatten(1).abs().amax(1)
            between = torch.minimum(torch.maximum(adversarial, image - reach.view(-1, 1, 1, 1)),
                                    image + reach.view(-1, 1, 1, 1))  # fmt: skip
        with torch.no_grad():
            fooled = head(between).argmax(1) != label
        high, low = torch.where(fooled, middle, high), torch.where(fooled, low, middle)
    took[runner]["led_back"].append(took[runner]["distance"][-1] * high)


def _distance(head: nn.Module, image: Tensor, adversarial: Tensor, label: Tensor, norm: str) -> Tensor:
    with torch.no_grad():
        held = head(adversarial).argmax(1) == label
    return Threat(norm, 1.0).size(adversarial.detach(), image).masked_fill(held, math.inf)


def _note(took: dict[str, dict], runner: str, distance: Tensor, seconds: float, counted: Counted) -> None:
    empty = {"distance": [], "led_back": [], "seconds": [], "forwards": [], "backwards": []}
    one = took.setdefault(runner, empty)
    one["distance"].append(distance)
    one["seconds"].append(seconds)
    one["forwards"].append(counted.forwards / len(distance))
    one["backwards"].append(counted.backwards / len(distance))


def _rows(took: dict[str, dict], about: dict) -> list[dict]:
    """One row for each runner; ratios are ours over theirs, image by image and seed by seed."""
    ours = next(one for runner, one in took.items() if runner.startswith("medadv"))
    found = []
    for runner, one in took.items():
        row = {**about, "runner": runner}
        for key in ("distance", "led_back"):
            if one[key]:
                every = torch.cat(one[key])
                row[key] = round(float(every.median()), 5)
                if one is not ours:
                    ratio = torch.cat(ours[key] or ours["distance"]) / every
                    row[f"ratio_{key}"] = round(float(ratio[ratio.isfinite()].log().mean().exp()), 4)
        row["failed"] = int(torch.cat(one["distance"]).isinf().sum())
        row |= {key: round(median(one[key]), 2) for key in ("forwards", "backwards", "seconds")}
        if one is not ours:
            ratios = [a / b for a, b in zip(ours["seconds"], one["seconds"], strict=True)]
            row["ratio_seconds"] = [round(v, 3) for v in (median(ratios), min(ratios), max(ratios))]
        found.append(row)
    return found


def markdown(found: list[dict], about: dict) -> str:
    """Write the tables as text."""
    named = {**about["versions"], **about["peers"]}
    text = [f"`{about['command']}`, {about['date']}, {about['device']}, {about['threads']} thread, {about['clock']}; "
            + ", ".join(f"{k} {v}" for k, v in named.items()) + "\n"]  # fmt: skip
    step = [row for row in found if row["part"] == "step"]
    if step:
        text += ["| subject | steps | images x seeds | PGD with the step | left standing (range over seeds) |",
                 "|---|---|---|---|---|"]  # fmt: skip
        text += [f"| {r['subject']} {r['threat']} | {r['steps']} | {r['images']} x {r['seeds']} | {r['runner']} | "
                 f"{r['robust']:.4f} ({r['range'][0]:.4f} to {r['range'][1]:.4f}) |" for r in step]  # fmt: skip
        text.append("")
    far = [row for row in found if row["part"] != "step"]
    if far:
        text += ["| subject | norm | steps or rounds | images x seeds | runner | median distance | led back | failed | "
                 "forwards, backwards per image | ours / theirs: distance | led back | seconds |",
                 "|---|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in far:
            seconds = "{} ({} to {})".format(*r["ratio_seconds"]) if "ratio_seconds" in r else ""
            cells = [r["subject"], r["threat"], r["steps"], f"{r['images']} x {r['seeds']}", r["runner"], r["distance"]]
            cells += [r.get("led_back", ""), r["failed"], f"{r['forwards']}, {r['backwards']}"]
            cells += [r.get("ratio_distance", ""), r.get("ratio_led_back", ""), seconds]
            text.append("| " + " | ".join(map(str, cells)) + " |")
        text.append("")
    return "\n".join(text)


def plan(parts: list[str], subjects: list[str], *, quick: bool) -> list[Callable[[], list[dict]]]:
    """The tables asked for, as calls."""
    calls: list[Callable[[], list[dict]]] = []
    seeds, few = (1, 4) if quick else (5, 0)
    for name in subjects:
        if "step" in parts:
            calls += [lambda n=name, s=s: step_rows(n, many=few or 64, seeds=seeds, steps=s)
                      for s in ((3,) if quick else (10, 20))]  # fmt: skip
        if "ddn" in parts:
            calls.append(lambda n=name: ddn_rows(n, many=few or 16, seeds=seeds, steps=4 if quick else 100))
        if "hopskipjump" in parts:
            calls += [lambda n=name, m=m: hopskipjump_rows(n, m, many=1 if quick else 4, seeds=seeds,
                                                           rounds=2 if quick else 8)
                      for m in ("l2", "linf")]  # fmt: skip
    return calls


def main() -> None:
    """Measure the tables asked for and record them as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="a few images, the plain subject")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "searches.json")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if wrong := set(parts) - set(PARTS):
        parser.error(f"there is no part {sorted(wrong)[0]!r}; choose from {', '.join(PARTS)}")
    torch.set_num_threads(1)
    subjects = ["plain"] if options.quick else options.subjects
    old = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    about = provenance(seed=0, device="cpu")
    about["command"] = "python benchmarks/" + about["command"]
    about |= {"threads": 1, "peers": versions(), "clock": "processor seconds"}
    new: list[dict] = []
    for call in tqdm(plan(parts, subjects, quick=options.quick)):
        new += [{**row, "commit": about["commit"]} for row in call()]
        fresh = {(row["part"], row["subject"], row["steps"], row["threat"]) for row in new}
        kept = [row for row in old if (row["part"], row["subject"], row["steps"], row["threat"]) not in fresh]
        places = {name: place for place, name in enumerate((*PARTS, *SUBJECTS))}
        every = sorted(kept + new, key=lambda row: (places[row["part"]], places[row["subject"]], row["steps"]))
        write_text(options.out, json.dumps({"provenance": about, "rows": every}, indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), markdown(every, about))
    print(markdown(new, about))


if __name__ == "__main__":
    main()
