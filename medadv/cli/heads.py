"""What the options name, opened: a head that adapted, or one made of sentences, and the images it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medadv.cli.options import open_pairs


def phrases_of(classes: str | None) -> list[str]:
    """Split the --classes option."""
    return [phrase.strip() for phrase in (classes or "").split("|") if phrase.strip()]


def zero_shot(vlm: Any, pairs: Any, phrases: Sequence[str], templates: Sequence[str] | None) -> Any:
    """Make a classifier of sentences for the classes of the data."""
    from medadv.models import TEMPLATES, ZeroShot

    if phrases and len(phrases) != len(pairs.classes):
        raise ValueError(
            f"The --classes option must hold one phrase for each of {', '.join(pairs.classes)}; got {len(phrases)}."
        )
    found = list(phrases or pairs.prompts or pairs.classes)
    return ZeroShot.from_prompts(vlm, found, templates=tuple(templates or TEMPLATES))


def adapted(
    model: str, head: Path | None, *, data: str, device: str, dtype: str, size: int | None, **opened: Any
) -> tuple[Any, Any]:
    """Open an adapted head and data with its classes."""
    from medadv.models import load
    from medadv.train.adapt import load_adapted

    place = head if head is not None else Path(model.removeprefix("local-dir:")) if model else None
    if place is None:
        raise ValueError("The command needs --model local-dir:FOLDER or --head FILE. Make one with medadv train.")
    vlm = load(model or f"local-dir:{place.parent}", device=device, dtype=dtype)
    found, classes = load_adapted(place, vlm=vlm)
    pairs = open_pairs(data, size=size or vlm.image_size, **opened)
    if classes != pairs.classes:
        raise ValueError(
            f"The data must have the classes of the head, {', '.join(classes)}; got {', '.join(pairs.classes)}. "
            "Choose --label or --data."
        )
    return found, pairs


def any_head(
    model: str,
    head: Path | None,
    *,
    classes: str | None,
    template: Sequence[str] | None,
    device: str,
    dtype: str,
    size: int | None,
    data: str,
    **opened: Any,
) -> tuple[Any, Any]:
    """Open the adapted head that the options name, or make a zero-shot one where they name none."""
    from medadv.models import load
    from medadv.train.adapt import adapted_folder

    phrases = phrases_of(classes)
    if not phrases and not template and (head is not None or adapted_folder(model) is not None):
        return adapted(model, head, data=data, device=device, dtype=dtype, size=size, **opened)
    if head is not None:
        raise ValueError("The --head option and --classes or --template exclude each other. Leave one of them out.")
    vlm = load(model or "tiny", device=device, dtype=dtype)
    pairs = open_pairs(data, size=size or vlm.image_size, **opened)
    return zero_shot(vlm, pairs, phrases, template), pairs
