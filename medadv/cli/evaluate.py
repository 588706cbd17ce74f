"""medadv evaluate: score an adapted model, and, where a threat is named, attack it."""

from __future__ import annotations

from typing import Any

from medadv.cli import options as o
from medadv.cli.attacking import attack_and_show, check_attacks, compiled
from medadv.cli.heads import adapted
from medadv.cli.options import check_folder, plain_errors
from medadv.cli.show import finish


@plain_errors
def evaluate(
    *,
    model: o.Adapted = "",
    head: o.Head = None,
    data: o.Data,
    split: o.Split = "test",
    within: o.Within = None,
    threat: o.Threats = None,
    attack: o.Attacks = None,
    steps: o.AttackSteps = None,
    restarts: o.Restarts = None,
    target: o.Target = None,
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
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Score an adapted model on any data with its classes; with --threat also under attack."""
    from medadv.reports.adaptation import within as inside
    from medadv.reports.classification import head_report

    check_folder(out)
    how: dict[str, Any] = {"threats": threat, "attacks": attack, "target": target, "steps": steps, "restarts": restarts}
    how |= {"within": within, "doctor": doctor, "save_images": save_images, "save_8bit": save_8bit, "region": region}
    if threat:
        check_attacks(out=out, **how)
    elif any((attack, target, doctor, save_images, save_8bit, region, steps, restarts)):
        raise ValueError("The options of attacks need --threat. Add for example --threat linf:1/255.")
    opened: dict[str, Any] = {"split": split, "limit": limit, "seed": seed, "label": label}
    found, pairs = adapted(model, head, data=data, device=device, dtype=dtype, size=size, **opened)
    name = found.vlm.name
    facts = {"task": "evaluation", "model": name, "split": split}
    with compiled(found, compile):
        report = head_report(found, pairs, batch_size=batch_size, seed=seed, settings=facts, progress=True)
        more = {f"within_{within}": inside(report, pairs, within, seed=seed)} if within else {}
        finish({"evaluate": report, **more}, out)
        if threat:
            facts = {"model": name, "split": split, "dtype": dtype, "compile": compile}
            attack_and_show(found, pairs, batch_size=batch_size, seed=seed, out=out, facts=facts, **how)
