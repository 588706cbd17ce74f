"""Evaluation under attack: every threat with every attack, and their worst case, in one table with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from medadv.attacks.registry import attack_calls
from medadv.data.pairs import Pairs
from medadv.evaluate.metrics import Estimate, accuracy
from medadv.reports._entry import check_classes, check_masks, place_of
from medadv.reports._robustness_rows import CLEAN, SAVED, WORST, rows_of, with_worst
from medadv.reports._robustness_run import Picture, pictures_of, run_parts, scored_of
from medadv.reports.html.tables import short, table
from medadv.reports.report import Report, provenance, stored
from medadv.threat import Threat
from medadv.types import AttackResult

__all__ = ["Attacked", "Picture", "attacked", "attacked_within"]

SUCCESS = "share of the images that were right before and are wrong after"
SAVED_NOTE = (
    "rows marked 8-bit score the adversarial images anew after rounding to n/255, as a PNG stores them; rounding may "
    "carry a value past eps by up to 0.5/255"
)
SUCCESS_TARGETED = "share of the images not called so before that are called the target after"


def attacked(
    head: Callable[[Tensor], Tensor],
    pairs: Pairs,
    *,
    threats: Sequence[str | Threat],
    attacks: Sequence[str] | Mapping[str, Callable[..., AttackResult]] = ("apgd",),
    options: dict[str, Any] | None = None,
    target: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    show: int = 6,
    folder: str | Path | None = None,
    keep_images: bool = False,
    save_8bit: bool = False,
    region: str | None = None,
    settings: dict[str, Any] | None = None,
    n: int = 1000,
    progress: bool = False,
) -> Attacked:
    """Measure how well a classifier stands up: clean first, then each threat with each attack, then the worst case.

    Shapes   head maps pixels (B, 3, H, W) to logits (B, K), or for two classes to one logit (B,) or (B, 1) of the
             second against the first; pairs hold images of the same K classes.
    Units    proportions; sizes of perturbations in the norm of the threat, in pixel units.
    Returns  Attacked: a Report with rows of robust accuracy (the share of images that are right as they are and after
             the attack; in the worst case after every attack), attack success rate (the share of originally right
             images that are wrong afterwards; with `target`, of images not called so before that are called so
             afterwards), balanced accuracy, sensitivity and specificity of each class (the share of other images that
             are called so neither before nor after), change of accuracy (paired), sizes, and costs per image; macro
             AUC of the clean images, and under attacks only with options={"stop": False}, for one that stops at the
             first wrong answer hardly moves it. Patients are resampled as a whole where they have several images. Rows
             of unknown label (and with `target`, those of that class) are left out and counted. Your own attacks are a
             dict of name to `f(head, image, label, threat, *, generator)`, with one generator for each batch; ours
             draw for each image by itself, so that no verdict depends on the batch size. With `folder` every batch is
             kept there, with its adversarial images if `keep_images`, and the same call goes on after a crash. With
             `save_8bit` every adversarial image is also rounded to 8 bits and scored again, in rows of its own. With
             `region` only the pixels inside the masks of the data ("mask") or outside of them ("outside") may change.
    Raises   ValueError for unknown threats, attacks, options or targets, data of one class, labels that the head does
             not have, a head that returns no logits or NaN, data without masks where a region is asked for, and images
             outside [0, 1].
    Source   Croce and Hein 2020, arXiv 2003.01690: the worst case is taken image by image. Differs: every image is
             scored again after the attack, by a forward pass of the same head.
    """
    check_classes(pairs, "attacked")
    wanted = [threat if isinstance(threat, Threat) else Threat.parse(threat) for threat in threats]
    if not wanted or not attacks:
        raise ValueError("The 'threats' and 'attacks' parameters of attacked must not be empty. Name one of each.")
    calls = attack_calls(attacks, options=options, towards=target is not None, region=region is not None)
    rows, aim = _kept(pairs, target)
    kept = pairs.select(rows)
    if region is not None:
        check_masks(kept, region)
    parts = list(
        run_parts(
            head, kept, wanted, calls, target=aim, batch_size=batch_size, seed=seed, show=show,
            folder=None if folder is None else Path(folder), keep_images=keep_images, save_8bit=save_8bit,
            region=region, progress=progress,
        )
    )  # fmt: skip
    ends = ("", SAVED) if save_8bit else ("",)
    names = [(str(threat), name + end) for threat in wanted for name in calls for end in ends]
    whole = (options or {}).get("stop") is False
    scored = with_worst(scored_of(parts, names, kept, target=aim, to_the_end=whole, common={"n": n, "seed": seed}))
    facts: dict[str, Any] = {"task": "under attack", "data": pairs.name, "images": len(kept)}
    facts |= {"left out": len(pairs) - len(kept), "classes": list(kept.classes), "threats": list(map(str, wanted))}
    facts |= {"attacks": list(calls), "attack options": options or {}, "target": target}
    facts |= {"region": region, "8-bit": SAVED_NOTE if save_8bit else ""}
    facts |= {"success": SUCCESS if aim is None else SUCCESS_TARGETED, **(settings or {})}
    raw = {
        "output": stored(scored.clean),
        "label": scored.label.tolist(),
        "group": [] if scored.patients is None else scored.patients.tolist(),
        "row": rows,
        "under": {" ".join(key): stored(output) for key, output in scored.under.items()},
    }
    made = provenance(seed=seed, device=place_of(head))
    return Attacked(rows_of(scored, kept.classes), facts, made, raw, pictures_of(parts, names, show))


def attacked_within(report: Report, pairs: Pairs, by: str, *, seed: int = 0, n: int = 1000) -> Attacked:
    """Repeat the accuracies of a report under attack inside each value of an attribute.

    Shapes   report of `attacked` on these pairs, with its raw outputs.
    Units    proportions.
    Returns  Attacked with one row for each value of the attribute, without and with each attack; `wide` has them side
             by side.
    Raises   ValueError if the report has no raw outputs of these pairs, or the attribute is unknown.
    Source   ours.
    """
    number, names = pairs.groups(by)
    rows, label = report.raw.get("row", []), np.asarray(report.raw.get("label", []))
    if not rows or max(rows) >= len(pairs) or (pairs.labels[rows].numpy() != label).any():
        raise ValueError(
            f"The 'report' parameter of attacked_within must be of attacked on {pairs.name}; got another. Run it again."
        )
    patients = np.asarray(report.raw["group"]) if report.raw["group"] else None
    outputs: dict[str, Any] = {" ".join(CLEAN): report.raw["output"], **dict(report.raw["under"])}
    lines = []
    for key, output in outputs.items():
        threat, attack = key.split(" ", 1)
        for g, name in enumerate(names):
            mine = number[rows].numpy() == g
            who = None if patients is None else patients[mine]
            right = accuracy(np.asarray(output)[mine], label[mine], groups=who, n=n, seed=seed)
            metric = "accuracy" if threat == "none" else "robust accuracy"
            lines.append({"metric": metric, "threat": threat, "attack": attack, by: name, "estimate": right})
    return Attacked(tuple(lines), {**report.settings, "within": by}, report.versions)


@dataclass(frozen=True)
class Attacked(Report):
    """A report under attack: long in its rows, wide where it is shown, with a few pictures for the page."""

    pictures: tuple[Picture, ...] = ()

    def wide(self) -> pd.DataFrame:
        """Return one line for each threat and attack, estimates in the cells; the classes are left to `by_class`."""
        lines: dict[tuple[str, str], dict[str, Any]] = {}
        by = self.settings.get("within", "")
        for row in self.rows:
            key = row["threat"], row["attack"]
            line = lines.setdefault(key, {"threat": key[0], "attack": key[1]})
            if by or row["class"] == "all":
                line[row[by] if by else row["metric"].removeprefix("robust ")] = row["estimate"]
        return pd.DataFrame(list(lines.values())).astype(object)

    def by_class(self) -> pd.DataFrame:
        """Return one line for each class: sensitivity and specificity, clean and in the worst case of each threat."""
        lines: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            if row["class"] != "all" and (row["threat"], row["attack"]) in self._hardest():
                where = "clean" if row["threat"] == "none" else row["threat"]
                lines.setdefault(row["class"], {"class": row["class"]})[f"{row['metric']}, {where}"] = row["estimate"]
        return pd.DataFrame(list(lines.values())).astype(object)

    def __repr__(self) -> str:
        wide = self.wide()
        names = [name for name in wide if name in ("threat", "attack", "accuracy", "attack success rate")]
        chosen = wide if self.settings.get("within") else wide[names]
        return f"{self._title()}\n" + chosen.map(_text).to_string(index=False)

    def _hardest(self) -> set[tuple[str, str]]:
        """Clean, and for each threat the worst case (or its only attack)."""
        found = {CLEAN[0]: CLEAN}
        for row in self.rows:
            if row["attack"] == WORST or row["threat"] not in found:
                found[row["threat"]] = (row["threat"], row["attack"])
        return set(found.values())

    def _repr_html_(self) -> str:
        return table(short(self.wide()))


def _kept(pairs: Pairs, target: str | None) -> tuple[list[int], int | None]:
    """Rows that can be judged, and the number of the target class."""
    if target is not None and target not in pairs.classes:
        raise ValueError(
            f"The 'target' parameter of attacked must be one of {', '.join(pairs.classes)}; got {target!r}. Copy one."
        )
    aim = None if target is None else pairs.classes.index(target)
    label = pairs.labels
    if (label >= len(pairs.classes)).any():
        raise ValueError(
            f"The labels of {pairs.name} must be below the {len(pairs.classes)} classes; got {int(label.max())}. "
            "Correct the label column, or name all classes."
        )
    rows = [i for i, k in enumerate(label.tolist()) if k >= 0 and k != aim]
    if not rows:
        known = "known" if aim is None else "known and not the target"
        raise ValueError(
            f"The 'pairs' parameter of attacked must hold images whose label is {known}; {pairs.name} has none. "
            "Choose another label or other data."
        )
    return rows, aim


def _text(cell: Any) -> str:
    return f"{cell:.3f}" if isinstance(cell, Estimate) else cell if isinstance(cell, str) else ""
