"""medadv zeroshot and medadv retrieve: ask a model without training it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medadv.cli import options as o
from medadv.cli.heads import phrases_of, zero_shot
from medadv.cli.options import check_folder, open_pairs, plain_errors
from medadv.cli.show import finish


@plain_errors
def zeroshot(
    *,
    model: o.Model = "tiny",
    data: o.Data = "phantoms",
    split: o.Split = "test",
    template: o.Template = None,
    classes: o.Phrases = None,
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
    """Classify images, or one picture, by sentences alone."""
    from medadv.models import TEMPLATES, load
    from medadv.reports.classification import ask, head_report

    check_folder(out)
    phrases = phrases_of(classes)
    templates = tuple(template or TEMPLATES)
    if Path(data).is_file() and len(phrases) < 2:
        raise ValueError("The --classes option must hold two phrases or more for a file, as 'a naevus|a melanoma'.")
    vlm = load(model, device=device, dtype=dtype)
    if Path(data).is_file():
        finish({"ask": ask(vlm, data, phrases, templates=templates)}, out)
        return
    pairs = open_pairs(data, split=split, size=size or vlm.image_size, limit=limit, seed=seed, label=label)
    head = zero_shot(vlm, pairs, phrases, templates)
    facts = {
        "task": "zero-shot",
        "model": model,
        "split": split,
        "prompts": list(head.classes),
        "templates": templates,
    }
    report = head_report(head, pairs, batch_size=batch_size, seed=seed, settings=facts, progress=True)
    finish({"zeroshot": report}, out)


@plain_errors
def retrieve(
    *,
    model: o.Model = "tiny",
    data: o.Data = "phantoms",
    split: o.Split = "test",
    k: o.Ranks = None,
    captions: o.Captions = None,
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Find captions by images and images by captions (recall@k)."""
    from medadv.models import load
    from medadv.reports.retrieval import retrieve_report

    check_folder(out)
    vlm = load(model, device=device, dtype=dtype)
    pairs = open_pairs(data, split=split, size=size or vlm.image_size, limit=limit, seed=seed)
    facts = {"task": "retrieval", "model": model, "split": split}
    options: dict[str, Any] = {
        "k": k or (1, 5, 10),
        "captions": captions,
        "batch_size": batch_size,
        "seed": seed,
    }
    finish({"retrieve": retrieve_report(vlm, pairs, settings=facts, progress=True, **options)}, out)
