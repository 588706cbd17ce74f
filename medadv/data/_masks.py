"""Masks: which pixels are inside, read from the values of a picture; what cannot be known is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

Structures = dict[str, tuple[int, ...]]
"""Structure to its value, (value,), or to its colour, (red, green, blue)."""

_NEAR, _FEW, _MIDDLE = 32, 8, 0.05
_COLOUR_NOISE = 24
_REMEDY = (
    'Declare what is inside, in folder.json: {"mask": {"lesion": 1}} (mask={"lesion": 1} in Python), or save 0 and 255'
)


def inside_of(mask: Image.Image, name: str, structures: Structures | None = None) -> np.ndarray:
    """Return a bool array: True inside.

    With `structures` the pixels of any declared value or colour are inside. Without, a mask of two values is
    understood (what is not zero is inside), and one that was two-valued until JPEG or a resize blurred it:
    nearly all values lie within 32 of 0 or of 255, on both ends more than one. Everything else is refused.
    """
    if structures:
        return _declared(mask, name, structures)
    values = _grey(mask, name)
    found = np.unique(values)
    if len(found) <= 2:
        if len(found) == 2 and found[0] != 0:
            raise ValueError(
                f"The mask {name} has the values {_some(found)} and no 0, so which of them is inside is not known. "
                f"{_REMEDY}."
            )
        return values != 0
    if _blurred(values, found):
        return values > 127
    raise ValueError(f"The mask {name} has {len(found)} values ({_some(found)}), not two. {_REMEDY}.")


def _blurred(values: np.ndarray, found: np.ndarray) -> bool:
    low, high = found[found < _NEAR], found[found > 255 - _NEAR]
    # A label map with a border, such as 0, 1, 15, 255, has one value only at the upper end.
    if found[-1] > 255 or len(low) < 2 or len(high) < 2:
        return False
    between = ((values >= _NEAR) & (values <= 255 - _NEAR)).mean()
    return bool(between == 0 or (len(found) > _FEW and between <= _MIDDLE))


def _grey(mask: Image.Image, name: str) -> np.ndarray:
    if mask.mode == "1" or mask.mode == "L" or mask.mode.startswith("I") or mask.mode == "F":
        values = np.asarray(mask)
        if mask.mode == "F" and not np.isfinite(values).all():
            raise ValueError(f"The mask {name} holds values that are infinite or no numbers. {_REMEDY}.")
        return values.astype(np.uint8) if mask.mode == "1" else values
    bands = np.asarray(mask.convert("RGBA"))
    if (bands[..., 3] != 255).any():
        raise ValueError(f"The mask {name} has transparent pixels. {_REMEDY}.")
    if (bands[..., 0] != bands[..., 1]).any() or (bands[..., 0] != bands[..., 2]).any():
        raise ValueError(f"The mask {name} has colours, and which of them are inside is not known. {_REMEDY}.")
    return bands[..., 0]


def _declared(mask: Image.Image, name: str, structures: Structures) -> np.ndarray:
    inside = np.zeros(mask.size[::-1], bool)
    colours = [colour for colour in structures.values() if len(colour) == 3]
    single = [value for colour in structures.values() if len(colour) == 1 for value in colour]
    if single:
        # Of a palette picture the values are the numbers of the colours, as in the labels of PASCAL VOC.
        inside |= np.isin(np.asarray(mask) if mask.mode == "P" else _grey(mask, name), single)
    if colours:
        bands = np.asarray(mask.convert("RGB")).astype(np.int16)
        noise = _COLOUR_NOISE if mask.format in ("JPEG", "MPO") else 0
        for colour in colours:
            inside |= (np.abs(bands - np.array(colour, np.int16)) <= noise).all(-1)
    return inside


def checked_structures(given: Any, where: str) -> Structures | None:
    """Check a declaration: an object from structure to a value, or to a colour of three values."""
    if given is None:
        return None
    found: Structures = {}
    ok = isinstance(given, Mapping) and len(given) > 0
    for name, value in given.items() if ok else ():
        several = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        ok = ok and isinstance(name, str) and len(several) in (1, 3)
        ok = ok and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 65535 for v in several)
        found[str(name)] = several
    if not ok:
        raise ValueError(
            f"{where} must be an object from structure to a value, or to a colour of three values; got "
            f'{str(given)[:60]}. Write, for example, {{"lesion": 1}} or {{"lesion": [255, 0, 0]}}.'
        )
    return found


def _some(found: np.ndarray) -> str:
    few = ", ".join(f"{value:g}" for value in found[:4].tolist())
    return few + (f", ... {found[-1]:g}" if len(found) > 4 else "")
