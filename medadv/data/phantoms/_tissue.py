"""Where cells and glands lie in an H&E patch: jittered lattices, rings and nothing painted yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._forms import outline


def _cells(points: NDArray, rng: np.random.Generator, radius, ratio, angle, dye, bump, open_) -> NDArray:
    cells = np.empty((len(points), 8))
    scale = np.exp(rng.normal(0, 0.09, (2, len(points))))
    cells[:, :2] = points
    cells[:, 3] = radius * scale[0]
    cells[:, 2] = ratio * cells[:, 3]
    cells[:, 4], cells[:, 5], cells[:, 6], cells[:, 7] = angle, dye * scale[1], bump, open_
    return cells


def _scatter(rng: np.random.Generator, spacing: float, jitter: float) -> NDArray:
    n = int(np.ceil(1.1 / spacing))
    row, col = np.divmod(np.arange(n * n), n)
    points = np.column_stack([col + 0.5 * (row % 2), row]) + rng.uniform(-jitter, jitter, (n * n, 2))
    return points * spacing - 0.05 + spacing * rng.uniform(-0.5, 0.5, 2)


def stroma(rng: np.random.Generator, slope: float, grow: float) -> NDArray:
    """Place the spindle nuclei of fibroblasts, lying along the fibres.

    Shapes   result (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    slope in radians, grow is the magnification.
    Returns  float64 array.
    Raises   nothing.
    Source   ours.
    """
    points = _scatter(rng, float(rng.uniform(0.06, 0.13)) * grow, 0.4)
    points = points[rng.random(len(points)) < 0.8]
    n = len(points)
    angle = slope + rng.normal(0, 0.35, n)
    return _cells(points, rng, 0.016 * grow, rng.uniform(1.3, 2.6, n), angle, rng.uniform(0.8, 1.2), 0.05, 0.2)


def malignant(rng: np.random.Generator, severity: float, grow: float) -> NDArray:
    """Place crowded tumour nuclei over the whole patch: the higher the grade, the less alike.

    Shapes   result (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    severity in [0, 1].
    Returns  float64 array.
    Raises   nothing.
    Source   atypia as pathologists grade it (size, shape, dye, crowding); numbers ours.
    """
    radius = (0.029 + 0.012 * severity) * grow
    points = _scatter(rng, radius * float(rng.uniform(2.2, 2.6)), 0.42)
    n = len(points)
    spread = np.exp(rng.normal(0, 0.1 + 0.22 * severity, n))
    dye = rng.uniform(0.8, 1.2) * np.exp(rng.normal(0, 0.1 + 0.18 * severity, n))
    shape = rng.uniform(1.0, 1.35 + 0.4 * severity, n)
    bump = rng.uniform(0.0, 0.06 + 0.1 * severity, n)
    open_ = np.clip(rng.uniform(-0.2, 0.8) + rng.normal(0, 0.25, n), 0, 0.9)
    return _cells(points, rng, radius * spread, shape, rng.uniform(0, np.pi, n), dye, bump, open_)


def infiltrate(rng: np.random.Generator, severity: float, grow: float) -> NDArray:
    """Place small round dark lymphocytes over the whole patch, denser with severity.

    Shapes   result (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    severity in [0, 1].
    Returns  float64 array.
    Raises   nothing.
    Source   ours.
    """
    radius = 0.0195 * grow
    return _lymphocytes(_scatter(rng, radius * (3.1 - 0.9 * severity), 0.38), rng, radius)


def lone(rng: np.random.Generator, grow: float) -> NDArray:
    """Place the few single lymphocytes that every tissue has.

    Shapes   result (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    grow is the magnification.
    Returns  float64 array.
    Raises   nothing.
    Source   ours.
    """
    return _lymphocytes(rng.uniform(0, 1, (int(rng.integers(0, 12)), 2)), rng, 0.0195 * grow)


def _lymphocytes(points: NDArray, rng: np.random.Generator, radius: float) -> NDArray:
    return _cells(points, rng, radius, 1.06, 0.0, rng.uniform(1.3, 1.7), 0.02, 0.0)


def crypts(rng: np.random.Generator, avoid: dict | None, gap: float, grow: float) -> tuple[list[dict], list[NDArray]]:
    """Put one to five glands where there is room, each with a ring of nuclei at its base.

    Shapes   each ring (n, 8).
    Units    gap: distance kept from the area to avoid, in gland radii (negative: reaching into it).
    Returns  (glands: outline, lumen fraction and mucin of each; rings).
    Raises   nothing.
    Source   ours; elongated nuclei stand radially at the basal side of a columnar epithelium.
    """
    glands: list[dict] = []
    rings: list[NDArray] = [np.zeros((0, 8))]
    wanted = int(rng.integers(1, 6))
    centres = rng.uniform(-0.05, 1.05, (14, 2))
    radii = rng.uniform(0.12, 0.21, 14) * grow
    free = np.ones(14, dtype=bool)
    if avoid is not None:
        free = outline(centres[:, 0], centres[:, 1], **avoid) > 1 + gap * radii / avoid["radius"]
    for k in np.flatnonzero(free):
        cx, cy, radius = float(centres[k, 0]), float(centres[k, 1]), float(radii[k])
        others = (g["shape"] for g in glands)
        if any((g["cx"] - cx) ** 2 + (g["cy"] - cy) ** 2 < (g["radius"] + radius) ** 2 for g in others):
            continue
        squash, angle, lumen, mucin = rng.uniform((0.65, 0, 0.25, 0), (1.0, np.pi, 0.5, 1.0)).tolist()
        shape = {"cx": cx, "cy": cy, "radius": radius, "squash": squash, "angle": angle}
        shape["modes"] = rng.normal(0, 0.03, (4, 2))
        rings.append(_ring(rng, shape, grow))
        glands.append({"shape": shape, "lumen": lumen, "mucin": mucin})
        if len(glands) == wanted:
            break
    return glands, rings


def _ring(rng: np.random.Generator, gland: dict, grow: float) -> NDArray:
    size = 0.0215 * grow
    way = np.pi * 0.75 * gland["radius"] * (1 + gland["squash"])
    n = max(int(way / (size * rng.uniform(1.9, 2.5))), 6)
    turn = (np.arange(n) + rng.uniform(-0.2, 0.2, n)) * (2 * np.pi / n)
    waves = np.arange(1, 5)[:, None] * turn
    rim = 1 + gland["modes"][:, 0] @ np.cos(waves) + gland["modes"][:, 1] @ np.sin(waves)
    far = gland["radius"] * rim * (0.8 + rng.normal(0, 0.02, n))
    u, v = far * np.cos(turn), far * np.sin(turn) * gland["squash"]
    c, s = np.cos(gland["angle"]), np.sin(gland["angle"])
    points = np.column_stack([gland["cx"] + c * u - s * v, gland["cy"] + s * u + c * v])
    radial = gland["angle"] + np.arctan2(v, u)
    dye = rng.uniform(0.95, 1.25)
    return _cells(points, rng, size * 0.85, rng.uniform(1.2, 1.5, n), radial, dye, 0.03, 0.25)


def outside(points: NDArray, glands: list[dict], *, edge: float) -> NDArray:
    """Say which cells lie outside every gland.

    Shapes   points (N, 8); result (N,) bool.
    Units    edge in units of the gland's own radius.
    Returns  bool array.
    Raises   nothing.
    Source   ours.
    """
    keep = np.ones(len(points), dtype=bool)
    for gland in glands:
        plain = gland["shape"] | {"modes": gland["shape"]["modes"][:0]}  # the waves are too low to matter here
        keep &= outline(points[:, 0], points[:, 1], **plain) > edge
    return keep
