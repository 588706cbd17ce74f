"""The models this package knows by name, and how a name becomes a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medadv.models._cards import CARDS, Card

if TYPE_CHECKING:
    from medadv.models.vlm import VLM

__all__ = ["CARDS", "Card", "from_name", "names"]


def names(pattern: str = "*") -> list[str]:
    """Return the names of the known models.

    Shapes   none.
    Units    none.
    Returns  names that match a shell pattern, in the order of the table.
    Raises   nothing.
    Source   ours.
    """
    return CARDS.names(pattern)


def from_name(name: str) -> VLM:
    """Read a model by its name in the table, "hf-hub:org/repo" or "local-dir:FOLDER", on the CPU.

    Shapes   none.
    Units    none.
    Returns  a VLM in evaluation mode.
    Raises   ValueError for an unknown name (the nearest are offered) or a model that needs its own package;
             FileNotFoundError or OSError for files that are missing or cannot be fetched.
    Source   ours.
    """
    from medadv.models._folder import from_folder
    from medadv.models._hub import fetch_model, fetch_text

    kind, _, rest = name.partition(":")
    if kind == "local-dir" and rest:
        return from_folder(rest)
    if kind == "hf-hub" and rest:
        return from_folder(fetch_model(rest), fetch=fetch_text)
    if name not in CARDS and ("/" in name or ":" in name):
        raise ValueError(
            "The 'name' parameter of load must be a name in medadv.models.names(), hf-hub:org/repo or "
            f"local-dir:FOLDER; got {name!r}. Write hf-hub:{rest or name} or local-dir:{rest or name}."
        )
    card = CARDS.get(name)
    if card.loader == "tiny":
        from medadv.models.tiny import load_tiny

        return load_tiny()
    if card.loader == "own":
        raise ValueError(f"The model {name} does not load through open_clip or transformers. {card.note}")
    more = {"weights": card.weights} if card.weights else {}
    return from_folder(
        fetch_model(card.source.removeprefix("hf-hub:"), **more), config=card.config, fetch=fetch_text, **more
    )
