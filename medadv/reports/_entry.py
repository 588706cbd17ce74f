"""What every evaluation asks first: data that a classifier can be judged on, and where the head computes."""

from __future__ import annotations

from typing import Any

import torch

from medadv import _device
from medadv._quiet import modules_of
from medadv.data.pairs import Pairs

REGION_NOTES = {
    "mask": "Only pixels inside the masks of the data were allowed to change.",
    "outside": "Only pixels outside the masks of the data were allowed to change.",
}
"""The regions by name, with what a report says of them."""


def check_classes(pairs: Pairs, where: str) -> None:
    """Refuse data of one class, and data without a known label."""
    if len(pairs.classes) < 2:
        only = f"only {pairs.classes[0]!r}" if pairs.classes else "none"
        raise ValueError(
            f"The 'pairs' parameter of {where} must hold two classes or more; {pairs.name} has {only}. "
            "Add images of what it stands against, or choose another label column."
        )
    if not (pairs.labels >= 0).any():
        raise ValueError(f"The 'pairs' parameter of {where} must have labels; {pairs.name} has none. Add the column.")


def check_region(region: str) -> None:
    """Refuse a region that is not known."""
    if region not in REGION_NOTES:
        raise ValueError(
            f"The 'region' parameter of attacked must be one of {', '.join(REGION_NOTES)}; got {region!r}. "
            "Leave it out to let every pixel change."
        )


def check_masks(pairs: Pairs, region: str) -> None:
    """Refuse a region that is not known, and data that lack a mask somewhere."""
    check_region(region)
    for i, row in enumerate(pairs.rows):
        mask = pairs.load(i)[1]
        if mask is None:
            raise ValueError(
                f"The 'region' parameter of attacked needs a mask for every image; {pairs.name} has none for "
                f"{row.name or f'row {i}'}. Add the mask column, choose images that have one, or leave the region out."
            )


def place_of(head: Any) -> torch.device:
    """Return where a head computes: the device of the first weight or buffer of the modules behind it, else the CPU."""
    return _device.device_of(modules_of(head).modules)
