"""What medadv certify does: plan, say the plan, certify, join logs, print and write."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from medadv.cli._smoothed_heads import check_kinds, heads_and_pairs
from medadv.cli.attacking import show_frame
from medadv.cli.show import console

LOG, RUN = "certify.tsv", "certify_run.json"
VOTES = 1000


def planned(
    *, sigma: float | None, n: int | None, n0: int, alpha: float, method: str, radii: Sequence[float] | None,
    seconds: float | None, shard: str | None, out: Path | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Check what is asked for, before anything is loaded; n stays open where --seconds will choose it."""
    from medadv.certify._validate import check_alpha, check_sigma
    from medadv.certify.plans import make_plan
    from medadv.certify.shards import check_shard, processes

    if sigma is None:
        raise ValueError("The --sigma option must be given: the standard deviation of the noise. 0.1 suits tiny.")
    check_sigma(sigma, "certify"), check_alpha(alpha, "certify")
    share = processes() if shard is None else check_shard(_share(shard))
    if share[1] > 1 and out is None:
        raise ValueError("The --shard option needs a folder that all processes write to. Add --out FOLDER.")
    if seconds is not None and (n is not None or share[1] > 1):
        other = "--n" if n is not None else "--shard"
        raise ValueError(f"The --seconds option chooses n, so {other} must be left out, or --n given instead.")
    asked = sorted(set(radii or ()))
    climbed: Any = asked if method == "ladder" else asked[0] if method == "target" and len(asked) == 1 else ()
    if method == "ladder" and not asked:
        climbed = [round(k * sigma / 4, 10) for k in range(1, 17)]
    if method == "target" and len(asked) != 1:
        raise ValueError(f"The --radius option must be given once with --method target; got {len(asked)}. Name one.")
    plan = {"sigma": sigma, "n": n, "n0": n0, "alpha": alpha, "method": method, "radii": climbed, "seed": seed}
    if seconds is None:
        plan["n"] = n or VOTES
        if radii:
            check_votes(plan["n"], asked, sigma=sigma, alpha=alpha)
        make_plan(method, climbed, sigma=sigma, n0=n0, n=plan["n"], alpha=alpha)
    return {"certify": plan, "shown": asked or None, "seconds": seconds, "shard": share}


def check_votes(n: int, radii: Sequence[float], *, sigma: float, alpha: float) -> None:
    """Refuse radii that n votes cannot reach; the sentence says which n would do."""
    from medadv.certify.bounds import check_reachable

    check_reachable(n, radius=max(radii), sigma=sigma, alpha=alpha)


def certify_and_show(
    model: str, plan: dict[str, Any], *, out: Path | None, batch_size: int, wanted: list[str], head: Any, template: Any,
    split: str, fabric: Any = None, **found: Any,
) -> None:  # fmt: skip
    """Say what will be done, certify, print the tables, and write the log, the report and the page."""
    from medadv._atomic import write_text
    from medadv._provenance import provenance
    from medadv.certify.records import as_log
    from medadv.certify.shards import shard_file
    from medadv.certify.smooth import certify
    from medadv.certify.votes import place_of

    check_kinds(wanted, head=head, template=template, split=split)
    asked, sigma = plan["certify"], plan["certify"]["sigma"]
    heads, pairs = heads_and_pairs(
        model, wanted=wanted, sigma=sigma, head=head, template=template, split=split, **found
    )  # fmt: skip
    rows = [i for i, k in enumerate(pairs.labels.tolist()) if k >= 0]
    if not rows:
        raise ValueError(f"The labels of {pairs.name} must be known: a log says what is correct. Choose --label.")
    kept = pairs.select(rows)
    if asked["n"] is None:
        n = asked["n"] = _affordable(heads, kept, plan, out, batch_size)
        if plan["shown"]:
            check_votes(n, plan["shown"], sigma=sigma, alpha=asked["alpha"])
    first = fabric is None or fabric.is_global_zero
    if first:
        say(heads, len(kept), plan, left_out=len(pairs) - len(kept), together=fabric is not None)
    one = next(iter(heads.values()))
    facts = {"model": one.vlm.name, "data": pairs.name, "split": split, "images": len(kept), "shown": plan["shown"]}
    facts |= {"left out": len(pairs) - len(kept), "n": asked["n"], "method": asked["method"], "shots": found["shots"]}
    facts["options"] = {
        "--model": one.vlm.name, "--data": found["data"] if found["data"] == "phantoms" else pairs.name.split("/")[0],
        "--split": split, "--label": found["label"], "--size": kept.load(0)[0].shape[-1], "--dtype": found["dtype"],
    }  # fmt: skip
    facts["made"] = provenance(seed=asked["seed"], device=place_of(one))
    if out is not None:
        kept = _as_begun(kept, facts, out)
    made = certify(
        heads, kept, labels=kept.labels, batch_size=batch_size, file=None if out is None else out / LOG,
        shard=plan["shard"], progress=first, **asked,
    )  # fmt: skip
    if out is not None:  # now that the log has agreed to the settings
        write_text(out / RUN, json.dumps(facts, indent=1) + "\n")
    if fabric is not None and out is not None:
        fabric.barrier()
        if first:
            _finish(_gathered(out, len(kept)), facts, out, radii=plan["shown"])
        return
    if plan["shard"][1] > 1:
        told = f"{len(made)} certificates in {shard_file((out or Path()) / LOG, plan['shard'])}."
        typer.echo(f"{told} When every shard is done: medadv certify --merge --out {out}")
        return
    _finish(as_log(made, kept.labels), facts, out, radii=plan["shown"])


def _as_begun(pairs: Any, facts: dict[str, Any], out: Path) -> Any:
    """The images in the order in which the run in this folder numbered them; options of another run are refused."""
    from medadv._atomic import write_text
    from medadv.certify.shards import in_log_order, logs_of

    held, begun = logs_of(out / LOG), dict[str, Any]()
    with suppress(OSError, ValueError, TypeError, KeyError):  # the log itself knows its images and heads
        begun = dict(json.loads((out / RUN).read_text(encoding="utf-8"))["options"]) if held else begun
    for option, value in facts["options"].items():
        if begun.get(option, value) != value:
            raise ValueError(
                f"The --out option must name a folder of its own; {out} holds a run with {option} {begun[option]}, "
                f"this one has {option} {value}. Choose another folder, or the options that one was started with."
            )
    if held:  # whose facts stay until the log has agreed to the settings
        return pairs.select(in_log_order(out / LOG, pairs))
    write_text(out / RUN, json.dumps(facts, indent=1) + "\n")
    return pairs


def _gathered(out: Path, images: int) -> Any:
    """The joined logs of a run; of one with more images the first."""
    from medadv.certify.shards import gather

    log = gather(out / LOG, images=images)
    return log[log["idx"] < images]


def merge_and_show(out: Path | None, *, radii: Sequence[float] | None) -> None:
    """Join the logs of the shards and report on them."""
    if out is None or not (out / RUN).is_file():
        raise ValueError(f"The --merge option needs the --out folder of a run; there is no {RUN} in {out}.")
    try:
        facts = json.loads((out / RUN).read_text(encoding="utf-8"))
        images = int(facts["images"])
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ValueError(f"{out / RUN} is damaged. Run one shard again: it writes the file anew.") from None
    _finish(_gathered(out, images), facts, out, radii=radii or facts.get("shown"))


def say(heads: dict[str, Any], images: int, plan: dict[str, Any], *, left_out: int = 0, together: bool = False) -> None:
    """Say how far the votes reach and how many there will be, before the first is drawn."""
    from medadv.certify.bounds import largest_radius

    asked = plan["certify"]
    sigma, n, alpha = asked["sigma"], asked["n"], asked["alpha"]
    reach = float(largest_radius(n, sigma=sigma, alpha=alpha))
    typer.echo(
        f"If all {n:,} votes agree, the radius is {reach:.4g} ({reach / sigma:.3g} sigma, alpha {alpha:g}): "
        "no model gets further with them."
    )
    copies = _copies(heads, asked["n0"] + n)
    number, of = plan["shard"]
    mine = images if together else len(range(number, images, of))
    share = f" on {of} devices" if together else f" (shard {number}/{of})" if of > 1 else ""
    most = "" if asked["method"] == "fixed" else " at most"
    typer.echo(
        f"Planned: {mine:,} images{share}, {asked['n0']:,} votes to choose the "
        f"class and {n:,} to certify it{most}: {mine * copies:,} noisy copies{most}, for {len(heads)} head"
        f"{'s' if len(heads) > 1 else ''}." + (f" Left out without a label: {left_out}." if left_out else "")
    )
    if frozen := [name for name, one in heads.items() if one.guarantee == "prompt-frozen-at-x"]:
        typer.echo(
            f"{', '.join(frozen)}: the radius will hold for the prompt frozen at each image, not for a system that "
            "tunes itself anew on what it is shown."
        )


def _copies(heads: dict[str, Any], votes: int) -> int:
    """Noisy copies that one image costs, all heads together."""
    views = max((one.views for one in heads.values()), default=0)
    return views + votes * (1 + sum(one.copies for one in heads.values()))


def _affordable(heads: dict[str, Any], pairs: Any, plan: dict[str, Any], out: Path | None, batch_size: int) -> int:
    """Measure the model for a second, and say how many votes an image gets; a run that goes on keeps its number."""
    from medadv.certify.records import resume_log
    from medadv.certify.smooth import Job
    from medadv.certify.votes import count

    if out is not None and len(done := resume_log(out / LOG)):
        return int(done["plan"].iloc[0].rpartition("n=")[2].split()[0])
    asked, voted, spent = plan["certify"], 0, 0.0
    job, image = Job(asked["sigma"], asked["seed"], batch_size), pairs.load(0)[0]
    began = time.perf_counter()
    image, voters = job.ready(heads, image, 0)
    tuning, noise = time.perf_counter() - began, job.noise(0, "audit", image)
    count(list(voters.values()), image, noise, 0, 50, batch_size=batch_size)  # the first pass is slower
    began = time.perf_counter()
    while spent < 1:
        count(list(voters.values()), image, noise, voted, voted + 100, batch_size=batch_size)
        voted, spent = voted + 100, time.perf_counter() - began
    each = spent / voted
    n = int((plan["seconds"] / len(pairs) - tuning) / each - asked["n0"]) // 50 * 50
    least = 50
    if n < least:
        needed = len(pairs) * (tuning + each * (asked["n0"] + least))
        raise ValueError(
            f"The --seconds option must be {needed:.0f} or more for {len(pairs)} images at {1 / each:.0f} votes a "
            f"second; got {plan['seconds']:g}. Certify fewer images with --limit, or take more time."
        )
    typer.echo(f"{1 / each:,.0f} votes a second: n = {n:,} takes about {plan['seconds']:g} s.")
    return n


def _share(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit()):
        raise ValueError(f"The --shard option must be i/N, such as 0/4; got {text!r}. Count from 0.")
    return int(number), int(of)


def _finish(log: Any, facts: dict[str, Any], out: Path | None, *, radii: Sequence[float] | None) -> None:
    from medadv.reports.certification import certified_report, compare_heads
    from medadv.reports.html.certification import save_certified

    made, _ = facts.pop("made", None), facts.pop("options", None)
    report = certified_report(log, radii=radii, settings=facts, made=made)
    wide = report.wide()
    show_frame(wide, f"certified, {facts['model']}, {facts['data']}", console())
    base = "sentences"
    compared = compare_heads(log, base=base, radii=radii) if log["head"].nunique() > 1 else None
    if compared is not None:
        frame = compared.frame()[["metric", "head", "guarantee", "radius", "p"]].astype(object)
        frame = frame.assign(change=[row["estimate"] for row in compared.rows])
        show_frame(frame, f"against {base}, on the same images and noise", console())
    if out is None:
        return
    typer.echo(f"written: {out / LOG}")
    typer.echo(f"written: {report.save(out / 'certify.json')}")
    if compared is not None:
        typer.echo(f"written: {compared.save(out / 'certify_compared.json')}")
    typer.echo(f"written: {save_certified(report, log, out / 'certify.html', compared=compared)}")
