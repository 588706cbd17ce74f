"""medadv train: adapt a model to labelled images."""

from __future__ import annotations

from typing import Any

import typer

from medadv.cli import options as o
from medadv.cli.options import check_folder, open_pairs, plain_errors
from medadv.cli.show import finish


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
    from medadv.models import load
    from medadv.reports.adaptation import adapt_report, folds_report

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
        finish(folds_report(vlm, *parts, folds=folds, **common), out)
    else:
        finish(adapt_report(vlm, *parts, **common), out)
        typer.echo(f"Adapted model in {out}: use it with --model local-dir:{out}")
