"""The heads that medadv certify is asked for: sentences, an adapted model, learned prompts and their relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medadv.cli.heads import any_head, phrases_of
from medadv.cli.options import open_pairs

KINDS = ("few-shot", "calibrated", "zero-shot", "combined", "inside", "composed", "routed")
LEVELS = (0.5, 1.0, 1.5, 2.0)
"""Noise that prompts are trained on, in units of sigma: PromptSmooth's four levels lie so around its second one."""
_LEARN = {"few-shot", "calibrated", "combined", "routed"}


def check_kinds(wanted: Sequence[str], *, head: Any, template: Any, split: str) -> None:
    """Refuse prompts that do not exist or cannot be, before anything is loaded."""
    for name in wanted:
        if name not in KINDS:
            raise ValueError(f"The --prompts option must be one of {', '.join(KINDS)}; got {name!r}.")
    if wanted and (head is not None or template):
        other = "--head" if head is not None else "--template"
        raise ValueError(f"The --prompts and {other} options exclude each other. Leave one of them out.")
    if _LEARN & set(wanted) and split in ("train", "all"):
        raise ValueError(
            f"The --split option must not hold train images with --prompts {sorted(_LEARN & set(wanted))[0]}, which "
            f"learns from them; got {split}. Use test or val."
        )


def heads_and_pairs(
    model: str, *, wanted: Sequence[str], sigma: float, shots: int, context: str, head: Any, classes: str | None,
    template: Sequence[str] | None, split: str, device: str, dtype: str, size: int | None, data: str, **opened: Any,
) -> tuple[dict[str, Any], Any]:  # fmt: skip
    """Make every head that is asked for, all on one model, and open the images."""
    if not wanted:
        one, pairs = any_head(
            model, head, classes=classes, template=template, device=device, dtype=dtype, size=size, data=data,
            split=split, **opened,
        )  # fmt: skip
        return {"sentences" if getattr(one, "templates", ()) else "adapted": one}, pairs
    from medadv.models import load

    vlm = load(model or "tiny", device=device, dtype=dtype)
    opened = {**opened, "data": data, "size": size or vlm.image_size}
    pairs = open_pairs(split=split, **opened)
    phrases = phrases_of(classes)
    if phrases and len(phrases) != len(pairs.classes):
        raise ValueError(
            f"The --classes option must hold one phrase for each of {', '.join(pairs.classes)}; got {len(phrases)}."
        )
    words = list(phrases or pairs.prompts or pairs.classes)
    train = open_pairs(split="train", **{**opened, "limit": None}) if _LEARN & set(wanted) else None
    if train is not None and train.classes != pairs.classes:
        raise ValueError(f"The train split of {data} must have the classes of its {split} split. Choose --label.")
    return _prompted(vlm, words, train, wanted, sigma=sigma, shots=shots, context=context, seed=opened["seed"]), pairs


def _prompted(
    vlm: Any, words: list[str], train: Any, wanted: Sequence[str], *, sigma: float, shots: int, context: str, seed: int
) -> dict[str, Any]:
    from medadv.certify.adapt import Composed, Inside, Routed
    from medadv.certify.promptsmooth import TestTime, calibrate, few_shot, noisy_bank, shots_of
    from medadv.models.prompt import Prompt

    start = Prompt(vlm, words, context=context)
    base, asked = start.head(), set(wanted)
    levels = [share * sigma for share in LEVELS]
    made: dict[str, Any] = {}
    if asked & {"few-shot", "combined", "routed"}:
        rows = shots_of(train.labels, shots, seed=seed)
        learned = few_shot(start, noisy_bank(vlm, train.select(rows), sigmas=levels, seed=seed))
        made["few-shot"], made["combined"] = learned.head(), TestTime(learned)
    if asked & {"calibrated", "routed"}:
        few = min(len(train), 20 * len(words))
        blind = train.select(sorted(range(0, len(train), max(1, len(train) // few)))[:few])
        made["calibrated"] = calibrate(start, noisy_bank(vlm, blind, sigmas=levels, seed=seed)).head()
    if "routed" in asked:
        made["routed"] = Routed([base, made["few-shot"], made["calibrated"]])
    made |= {"zero-shot": TestTime(start), "inside": Inside(base), "composed": Composed(base)}
    return {"sentences": base, **{name: made[name] for name in dict.fromkeys(wanted)}}
