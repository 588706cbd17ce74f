"""medadv attack: how well a model stands up to an attacker."""

from __future__ import annotations

from typing import Any

from medadv.cli import options as o
from medadv.cli.attacking import attack_and_show, check_attacks, compiled
from medadv.cli.attacking_pairs import attack_pairs, check_pair_attacks
from medadv.cli.heads import any_head
from medadv.cli.options import check_folder, plain_errors


@plain_errors
def attack(
    *,
    task: o.Task = "classify",
    model: o.Model = "tiny",
    head: o.Head = None,
    data: o.Data = "phantoms",
    split: o.Split = "test",
    threat: o.Threats = None,
    attack: o.Attacks = None,
    steps: o.AttackSteps = None,
    restarts: o.Restarts = None,
    target: o.Target = None,
    template: o.Template = None,
    classes: o.Phrases = None,
    within: o.Within = None,
    words: o.Words = 1,
    captions: o.Captions = None,
    doctor: o.Doctor = False,
    save_images: o.SaveImages = False,
    save_8bit: o.Save8bit = False,
    region: o.Region = None,
    compile: o.Compile = False,
    label: o.Label = "label",
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 64,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Attack a classifier, made of sentences or adapted, or retrieval, and report how much is left.

    Writes attack.json and the page attack.html where --out is given. After a crash the same command goes on.
    """
    check_folder(out)
    common: dict[str, Any] = {"threats": threat, "attacks": attack, "steps": steps, "save_images": save_images}
    opened: dict[str, Any] = {"split": split, "limit": limit, "seed": seed, "data": data, "size": size}
    opened |= {"device": device, "dtype": dtype}
    if task == "retrieval":
        foreign = {"target": target, "restarts": restarts, "template": template, "classes": classes}
        check_pair_attacks(
            attack, threat, out=out, save_images=save_images, **foreign, within=within, doctor=doctor, head=head,
            save_8bit=save_8bit, region=region,
        )  # fmt: skip
        more: dict[str, Any] = {"words": words, "captions": captions, "compile": compile, "batch_size": batch_size}
        attack_pairs(model, out=out, **common, **opened, **more)
        return
    if task != "classify":
        raise ValueError(f"The --task option must be classify or retrieval; got {task!r}. Leave it out to classify.")
    how = {**common, "target": target, "restarts": restarts, "within": within, "doctor": doctor}
    how |= {"save_8bit": save_8bit, "region": region}
    check_attacks(out=out, **how)
    found, pairs = any_head(model, head, classes=classes, template=template, label=label, **opened)
    facts = {"model": found.vlm.name, "head": type(found).__name__, "split": split, "dtype": dtype, "compile": compile}
    with compiled(found, compile):
        attack_and_show(found, pairs, batch_size=batch_size, seed=seed, out=out, facts=facts, **how)
