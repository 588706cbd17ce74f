"""Our attacks beside the same attacks from other libraries, on the same classifier, in one run.

    python benchmarks/attacks.py                 # writes results/attacks.json and results/attacks.md; hours on one core
    python benchmarks/attacks.py --attacks pgd   # these rows only; the others in the files stay as they are
    python benchmarks/attacks.py --quick         # a smoke run of a minute

Every library gets the same module behind a counting wrapper, the same images (all classified correctly, the text
encoded once), eps, steps and seed. The runs take turns batch by batch, so that a busy machine is busy for all. What
comes out is judged by one function; who leaves the ball or the box is counted. Ratios are paired within a seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from _bars import markdown, verdicts
from _measure import Counted, judge, paired, peak, reset_peak, timed
from _ours import OURS, overhead
from _peers import DISTRIBUTIONS, peers, versions
from _subjects import SUBJECTS, correct_images, subject
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.threat import Threat

# attack: (steps or queries, images, seeds). A step of pgd is eps / 4, as in the usual 2/255 at 8/255; in pgd-defaults
# it is what each library takes by itself.
ATTACKS = {
    "pgd": (20, 128, 3),
    "pgd-defaults": (20, 64, 5),
    "apgd-ce": (100, 64, 2),
    "apgd-dlr": (100, 64, 2),
    "square": (300, 48, 10),
    "standard": (100, 32, 1),
    "fgsm": (1, 128, 9),
    "mifgsm": (10, 128, 3),
}


def side_by_side(
    head: nn.Module, image: Tensor, label: Tensor, threat: Threat, *, runs: dict, batch: int, steps: int, seed: int
) -> dict[str, dict]:
    """Run everybody on every batch in turn; return for each runner what it took and which images stayed right."""
    took = {name: {"seconds": 0.0, "wall": 0.0, "forwards": 0, "backwards": 0, "outside": 0, "peak_MB": 0.0,
                   "robust": []} for name in runs}  # fmt: skip
    for turn, start in enumerate(range(0, len(image), batch)):
        x, y = image[start : start + batch], label[start : start + batch]
        names = list(runs)
        names = names[(turn + seed) % len(names) :] + names[: (turn + seed) % len(names)]
        for name in names:
            counted, one = Counted(head).eval(), took[name]

            def run(runner: Callable = runs[name], counted: Counted = counted, x: Tensor = x, y: Tensor = y) -> Tensor:
                return runner(counted, x, y, eps=threat.eps, steps=steps, seed=seed)

            held = reset_peak(x.device)
            adversarial, seconds, wall = timed(run, x.device)
            top = peak(x.device)
            robust, outside = judge(head, adversarial.detach(), x, y, threat)
            one["seconds"] += seconds
            one["wall"] += wall
            one["forwards"] += counted.forwards
            one["backwards"] += counted.backwards
            one["outside"] += outside
            one["peak_MB"] = max(one["peak_MB"], 0.0 if held is None or top is None else (top - held) / 1e6)
            one["robust"].append(robust)
    for one in took.values():
        one["robust"] = torch.cat(one["robust"])
    return took


def rows(name: str, attack: str, *, many: int, batch: int, steps: int, seeds: int, device: str,
         libraries: list[str] | None = None) -> list[dict]:  # fmt: skip
    """Measure one attack on one subject at one batch size: one row for us, one for each library."""
    head, threat = subject(name, device=device, progress=False)
    image, label = correct_images(head, many=many)
    runs = {"medadv": OURS[attack], **{k: run for k, run in peers(attack).items() if k in (libraries or [k])}}
    warm = {"image": image[:4], "label": label[:4], "threat": threat, "batch": 4, "steps": 2, "seed": 0}
    if attack != "standard":
        side_by_side(head, runs=runs, **warm)
    drawn = [side_by_side(head, image, label, threat, runs=runs, batch=batch, steps=steps, seed=s)
             for s in range(seeds)]  # fmt: skip
    ours = torch.cat([one["medadv"]["robust"] for one in drawn])
    found = []
    for runner in runs:
        mine = [one[runner] for one in drawn]
        robust = torch.cat([one["robust"] for one in mine])
        row = {"subject": name, "threat": str(threat), "attack": attack, "steps": steps, "batch": batch,
               "images": many, "seeds": seeds, "runner": runner}  # fmt: skip
        row |= {key: round(median(one[key] for one in mine), 3) for key in ("seconds", "wall", "peak_MB")}
        row |= {key: round(median(one[key] for one in mine) / many, 2) for key in ("forwards", "backwards")}
        row |= {"outside": sum(one["outside"] for one in mine), "robust": round(float(robust.float().mean()), 4)}
        if runner != "medadv":
            for key in ("seconds", "wall", "forwards"):
                ratios = [one["medadv"][key] / one[runner][key] for one in drawn]
                row[f"ratio_{key}"] = [round(v, 3) for v in (median(ratios), min(ratios), max(ratios))]
            row["difference"] = [round(v, 4) for v in paired(ours, robust)]
        found.append(row)
    return found


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """Put new rows in the place of older ones of the same attack, subject and batch; all in a fixed order."""

    def place(row: dict) -> tuple:
        return list(ATTACKS).index(row["attack"]), list(SUBJECTS).index(row["subject"]), row["batch"]

    fresh = {place(row) for row in new}
    return sorted([row for row in old if place(row) not in fresh] + new, key=place)


def write(out: Path, new: list[dict], extra: list[dict], options: argparse.Namespace) -> None:
    """Record what is known so far, with the verdicts."""
    old = json.loads(out.read_text()) if out.is_file() else {"rows": [], "overhead": []}
    found, extra = merged(old["rows"], new), extra or old["overhead"]
    about = provenance(seed=0, device=options.device)
    about["command"] = "python benchmarks/" + about["command"]
    about |= {"threads": options.threads, "peers": versions(), "clock": "wall seconds, synchronised"}
    if options.device == "cpu":
        about["clock"] = "processor seconds"
    for row in new:
        row |= {"commit": about["commit"], "command": about["command"]}  # rows of several runs stand in one file
    held = verdicts(found, extra)
    whole = {"provenance": about, "bars": held, "overhead": extra, "rows": found}
    write_text(out, json.dumps(whole, indent=1) + "\n")
    write_text(out.with_suffix(".md"), markdown(found, bars=held, about=about))


def main() -> None:
    """Run the rows asked for, record them as they come, and say which bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="*", choices=[*ATTACKS, "overhead"], default=[*ATTACKS, "overhead"])
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--libraries", nargs="+", choices=list(DISTRIBUTIONS), help="beside ours; all that are here")
    parser.add_argument("--images", type=int, help="instead of each attack's own number")
    parser.add_argument("--seeds", type=int, help="instead of each attack's own number")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="eight images, three steps, the plain subject")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "attacks.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        options.subjects, options.batch = ["plain"], [8]
    plan = [(a, s, b) for a in options.attacks if a in ATTACKS for s in options.subjects for b in options.batch]
    found: list[dict] = []
    for attack, name, batch in tqdm(plan):
        steps, many, seeds = (3, 8, 1) if options.quick else ATTACKS[attack]
        many, seeds = options.images or many, options.seeds or seeds
        new = rows(name, attack, many=many, batch=batch, steps=steps, seeds=seeds, device=options.device,
                   libraries=options.libraries)  # fmt: skip
        found += new
        write(options.out, found, [], options)
        print("\n" + markdown(new), flush=True)
    extra = []
    if "overhead" in options.attacks:
        repeats = 1 if options.quick else 21
        extra = [overhead(batch=batch, device=options.device, repeats=repeats) for batch in options.batch]
    write(options.out, found, extra, options)
    print(options.out.with_suffix(".md").read_text().split("\n\n")[1])


if __name__ == "__main__":
    main()
