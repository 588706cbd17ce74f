"""medadv certify: how far the answer of a smoothed classifier is certain, and what logs of others really say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from medadv.cli import options as o
from medadv.cli._several import check_devices, started
from medadv.cli.auditing import audit_and_show
from medadv.cli.certifying import certify_and_show, merge_and_show, planned
from medadv.cli.options import check_folder, plain_errors

Sigma = Annotated[float | None, Option(help="standard deviation of the noise, in pixel units; 0.1 suits tiny")]
Votes = Annotated[int | None, Option("--n", min=1, help="votes that certify each image  [default: 1000]")]
Chosen = Annotated[int, Option("--n0", min=1, help="votes that choose its class")]
Alpha = Annotated[float, Option(help="chance of a false certificate, for each image")]
How = Annotated[
    str,
    Option("--method", help="fixed: all votes, exact radius; target: is --radius certified? ladder: the largest "
           "--radius that is; two-stage: n0 votes plan how many certify"),
]  # fmt: skip
Radii = Annotated[
    list[float] | None,
    Option("--radius", help="L2 radius in pixel units; may be repeated  [default: 0, 0.25, 0.5 and 1 sigma]"),
]
Limit = Annotated[int | None, Option("--limit", min=1, help="only N images, drawn by the seed (phantoms: make N)")]
"""Without the short form that it has elsewhere: -n would be taken for the votes."""
Seconds = Annotated[float | None, Option(min=0, help="choose n so that the run takes about this long")]
Prompts = Annotated[
    list[str] | None,
    Option("--prompts", help="few-shot, calibrated, zero-shot (PromptSmooth, tuned on each image), combined, inside, "
           "composed or routed; may be repeated; sentences are certified beside them"),
]  # fmt: skip
Shots = Annotated[int, Option(min=1, help="labelled train images of each class for few-shot prompts")]
Context = Annotated[str, Option(help="words that learned prompts start from")]
Shard = Annotated[str | None, Option(help="i/N: certify images i, i + N, ... (from 0)  [default: what torchrun says]")]
Devices = Annotated[int, Option(min=1, help="processes on this machine, one for each device (or on the CPU)")]
Merge = Annotated[bool, Option("--merge", help="join the logs of all shards in --out and report")]
Audit = Annotated[Path | None, Option("--audit", help="hold a log (locuslab's columns) against --sigma, --n, --alpha")]
Digits = Annotated[
    int | None, Option(min=1, max=17, help="significant digits the radii of --audit were printed with  [default: 3]")
]


@plain_errors
def certify(
    *,
    model: o.Model = "tiny",
    head: o.Head = None,
    data: o.Data = "phantoms",
    split: o.Split = "test",
    sigma: Sigma = None,
    n: Votes = None,
    n0: Chosen = 100,
    alpha: Alpha = 0.001,
    method: How = "fixed",
    radius: Radii = None,
    seconds: Seconds = None,
    prompts: Prompts = None,
    shots: Shots = 16,
    context: Context = "a medical image showing",
    template: o.Template = None,
    classes: o.Phrases = None,
    devices: Devices = 1,
    shard: Shard = None,
    merge: Merge = False,
    audit: Audit = None,
    digits: Digits = None,
    label: o.Label = "label",
    size: o.Size = None,
    limit: Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Certify a classifier by randomized smoothing: the answer cannot change within the radius, with chance 1 - alpha.

    With --out writes certify.tsv (one line for each image and head), certify.json and certify.html; after a crash
    the same command goes on, and with a larger --limit it adds the further images. Every certificate says what it
    rests on (guarantee).
    """
    check_folder(out)
    if audit is not None:
        audit_and_show(audit, sigma=sigma, n=n, alpha=alpha, digits=digits, radii=radius, out=out)
        return
    if merge:
        merge_and_show(out, radii=radius)
        return
    check_devices(devices, shard=shard, seconds=seconds, out=out)
    plan = planned(
        sigma=sigma, n=n, n0=n0, alpha=alpha, method=method, radii=radius, seconds=seconds, shard=shard, out=out,
        seed=seed,
    )  # fmt: skip
    fabric = started(devices, device) if devices > 1 else None
    if fabric is not None:
        plan["shard"], device = (fabric.global_rank, fabric.world_size), str(fabric.device)
    opened: dict[str, Any] = {"split": split, "limit": limit, "seed": seed, "label": label, "data": data, "size": size}
    found: dict[str, Any] = {"head": head, "classes": classes, "template": template, "device": device, "dtype": dtype}
    learned: dict[str, Any] = {"wanted": list(prompts or ()), "shots": shots, "context": context}
    certify_and_show(model, plan, out=out, fabric=fabric, batch_size=batch_size, **found, **opened, **learned)
