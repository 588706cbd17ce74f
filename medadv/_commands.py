"""The two commands that make and score adapted models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from medadv import _options as o
from medadv import _show
from medadv._options import check_folder, open_pairs, plain_errors


@plain_errors
def train(
    *,
    model: o.Model = "tiny",
    data: o.Data,
    out: o.Folder,
    method: o.Method = "auto",
    steps: o.Steps = 500,
    lr: o.Rates = None,
    upright: o.Upright = False,
    folds: o.Folds = 0,
    within: o.Within = None,
    label: o.Label = "label",
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 64,
    seed: o.Seed = 0,
    debug: o.Debug = False,
) -> None:
    """Adapt a model to labelled images.

    The val split chooses among the candidates; the test split is scored once, at the end. After a crash the same
    command goes on where it was.
    """
    from medadv.evaluate.adapted import adapt_report, folds_report
    from medadv.models import load

    check_folder(out)
    vlm = load(model, device=device, dtype=dtype)
    options: dict[str, Any] = {"method": method, "steps": steps, "batch_size": batch_size, "upright": upright}
    options |= {"seed": seed} | ({"lr": tuple(lr)} if lr else {})
    wanted = ("all",) if folds else ("train", "val", "test")
    opened: dict[str, Any] = {"size": size or vlm.image_size, "limit": limit, "seed": seed, "label": label}
    parts = [open_pairs(data, split=name, **opened) for name in wanted]
    facts = {"model": model, "label": label, "size": opened["size"], **options}
    common: dict[str, Any] = {"folder": out, "within": within, "settings": facts, "progress": True, **options}
    if folds:
        _show.finish(folds_report(vlm, *parts, folds=folds, **common), out)
    else:
        _show.finish(adapt_report(vlm, *parts, **common), out)
        typer.echo(f"Adapted model in {out}: use it with --model local-dir:{out}")


@plain_errors
def evaluate(
    *,
    model: o.Adapted = "",
    head: o.Head = None,
    data: o.Data,
    split: o.Split = "test",
    within: o.Within = None,
    label: o.Label = "label",
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Score an adapted model on any data with its classes."""
    from medadv.evaluate import study
    from medadv.evaluate.adapted import within as inside
    from medadv.models import load
    from medadv.train.adapted import load_adapted

    check_folder(out)
    place = head if head is not None else Path(model.removeprefix("local-dir:")) if model else None
    if place is None:
        raise ValueError("The command needs --model local-dir:FOLDER or --head FILE. Make one with medadv train.")
    vlm = load(model or f"local-dir:{place.parent}", device=device, dtype=dtype)
    found, classes = load_adapted(place, vlm=vlm)
    pairs = open_pairs(data, split=split, size=size or vlm.image_size, limit=limit, seed=seed, label=label)
    if classes != pairs.classes:
        raise ValueError(
            f"The data must have the classes of the head, {', '.join(classes)}; got "
            f"{', '.join(pairs.classes)}. "
            "Choose --label or --data."
        )
    facts = {"task": "evaluation", "model": vlm.name, "split": split}
    report = study.head_report(found, pairs, batch_size=batch_size, seed=seed, settings=facts, progress=True)
    more = {f"within_{within}": inside(report, pairs, within, seed=seed)} if within else {}
    _show.finish({"evaluate": report, **more}, out)
