"""The heads that medadv certify is asked for: sentences, an adapted model, learned prompts and their relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medadv.cli.heads import any_head, phrases_of
from medadv.cli.options import open_pairs


def check_kinds(wanted: Sequence[str], *, head: Any, template: Any, split: str) -> None:
    """Refuse prompts that do not exist or cannot be, before anything is loaded."""
    from medadv.certify.test_time import HEADS, LEARNED

    for name in wanted:
        if name not in HEADS:
            raise ValueError(f"The --prompts option must be one of {', '.join(HEADS)}; got {name!r}.")
    if wanted and (head is not None or template):
        other = "--head" if head is not None else "--template"
        raise ValueError(f"The --prompts and {other} options exclude each other. Leave one of them out.")
    if (learning := set(LEARNED) & set(wanted)) and split in ("train", "all"):
        raise ValueError(
            f"The --split option must not hold train images with --prompts {sorted(learning)[0]}, which "
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
    from medadv.certify.test_time import LEARNED, prompt_heads
    from medadv.models import load
    from medadv.models.prompt import Prompt

    vlm = load(model or "tiny", device=device, dtype=dtype)
    opened = {**opened, "data": data, "size": size or vlm.image_size}
    pairs = open_pairs(split=split, **opened)
    phrases = phrases_of(classes)
    if phrases and len(phrases) != len(pairs.classes):
        raise ValueError(
            f"The --classes option must hold one phrase for each of {', '.join(pairs.classes)}; got {len(phrases)}."
        )
    words = list(phrases or pairs.prompts or pairs.classes)
    train = open_pairs(split="train", **{**opened, "limit": None}) if set(LEARNED) & set(wanted) else None
    if train is not None and train.classes != pairs.classes:
        raise ValueError(f"The train split of {data} must have the classes of its {split} split. Choose --label.")
    start = Prompt(vlm, words, context=context)
    return prompt_heads(start, train, wanted=wanted, sigma=sigma, shots=shots, seed=opened["seed"]), pairs
