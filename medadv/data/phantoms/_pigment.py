"""What tells one pigmented lesion from another: border, colours and structures, drawn and not yet painted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def naevus(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
    """Draw what a naevus adds: a smooth border, one or two shades in rings, an even network or globules.

    Shapes   wave and the modes made of it (12, 2); blobs (n, 4); dots and cysts (n, 3).
    Units    fractions of the side; severity in [0, 1].
    Returns  parameters for `dermoscopy.render`.
    Raises   nothing.
    Source   see `dermoscopy.draw`.
    """
    ring = float(rng.uniform(-0.5, 0.6))  # darker or lighter middle, in rings: two browns, symmetric
    globules = rng.random() < 0.3
    return {
        "modes": 0.035 * wave,
        "edge": float(rng.uniform(0.06, 0.4)),
        "net": 0.0 if globules else float(rng.uniform(0.0, 0.35)),
        "net_warp": float(rng.uniform(0.0, 0.5)),
        "patchy": 0.0,
        "ring": (float(rng.uniform(0.4, 0.65)), ring),
        "rough": float(rng.uniform(0.0, 0.12)),
        "dots": _spots(rng, place, int(rng.integers(6, 18)), 0.8) if globules else np.zeros((0, 3)),
        "dot_depth": 0.45,
    }


def melanoma(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
    """Draw what a melanoma adds: an uneven border, several colours and at least one of four further signs.

    Shapes   wave and the modes made of it (12, 2); blobs (n, 4); dots and cysts (n, 3).
    Units    fractions of the side; severity in [0, 1].
    Returns  parameters for `dermoscopy.render`.
    Raises   nothing.
    Source   see `dermoscopy.draw`.
    """
    n = 2 + int(np.round(3 * severity * rng.uniform(0.6, 1)))
    turn, far = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.35, 0.95, n) * place["radius"]
    melanin = np.where(rng.random(n) < 0.6, rng.uniform(0.7, 1.7, n), -rng.uniform(0.25, 0.5, n))
    blobs = [place["cx"] + far * np.cos(turn), place["cy"] + far * np.sin(turn) * place["squash"]]
    blobs += [place["radius"] * rng.uniform(0.3, 0.6, n), melanin * (0.55 + 0.45 * severity)]
    wave[6:] *= 1.2
    signs = rng.random(4) < 0.3 + 0.45 * severity
    if not signs.any():
        signs[rng.integers(4)] = True
    return {
        "modes": (0.075 + 0.13 * severity) * wave,
        "edge": float(rng.uniform(0.06, 0.25)),
        "net": float(rng.uniform(0.25, 0.45 + 0.15 * severity)) if signs[2] else float(rng.uniform(0, 0.2)),
        "net_warp": float(rng.uniform(1.2, 2.5)),
        "patchy": 1.0,
        "ring": (0.5, 0.0),
        "rough": float(rng.uniform(0.1, 0.2 + 0.15 * severity)),
        "blobs": np.column_stack(blobs),
        "dots": _spots(rng, place, int(rng.integers(0, 9)), 1.0),
        "dot_depth": 0.9,
        "veil": float(rng.uniform(0.3, 0.45 + 0.4 * severity)) if signs[0] else 0.0,
        "scar": float(rng.uniform(0.3, 0.45 + 0.4 * severity)) if signs[1] else 0.0,
        "signs_at": place["radius"] * 0.55 * np.stack([np.cos(t := rng.uniform(0, 6.28, 2)), np.sin(t)], axis=1),
        "streaks": (
            float(rng.uniform(0, 6.28)),
            float(rng.uniform(0.8, 2.2)),
            int(rng.integers(16, 26)),
            float(rng.uniform(0.1, 0.26)),
        )
        if signs[3]
        else None,
    }


def keratosis(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
    """Draw what a seborrhoeic keratosis adds: a sharp edge, wax, milia-like cysts and comedo-like plugs.

    Shapes   wave and the modes made of it (12, 2); blobs (n, 4); dots and cysts (n, 3).
    Units    fractions of the side; severity in [0, 1].
    Returns  parameters for `dermoscopy.render`.
    Raises   nothing.
    Source   see `dermoscopy.draw`.
    """
    few = 3 + int(6 * severity)
    wave[6:] *= 2.0  # a moth-eaten edge: shallow, many bites
    return {
        "modes": 0.05 * wave,
        "edge": float(rng.uniform(0.03, 0.07)),
        "net": 0.0,
        "net_warp": 0.0,
        "patchy": 0.0,
        "ring": (0.8, -float(rng.uniform(0.0, 0.2))),
        "rough": float(rng.uniform(0.08, 0.3)),
        "cysts": _spots(rng, place, int(rng.integers(few - 1, few + 3)), 0.85),
        "dots": _spots(rng, place, int(rng.integers(few - 2, few + 2)), 0.85),
        "dot_depth": float(rng.uniform(0.6, 1.2)),
        "cyst": float(rng.uniform(0.3, 0.75)),
        "wax": float(rng.uniform(0.08, 0.3)),
    }


def _spots(rng: np.random.Generator, place: dict, n: int, reach: float) -> NDArray:
    turn, far = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(0, 1, n)) * reach * place["radius"]
    u, v = far * np.cos(turn), far * np.sin(turn) * place["squash"]
    c, s = np.cos(place["angle"]), np.sin(place["angle"])
    radius = rng.uniform(0.009, 0.023, n)
    return np.column_stack([place["cx"] + c * u - s * v, place["cy"] + s * u + c * v, radius])
