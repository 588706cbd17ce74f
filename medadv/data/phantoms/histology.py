"""H&E histology patch: two dyes absorb light, everything else is where the dyes are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field, grain, grid, inside, paint, smooth, texture
from medadv.data.phantoms._forms import outline, stamp
from medadv.data.phantoms.captions import Facts, whereabouts

NAME = "histology"
NOUNS = (
    "histology patch",
    "histopathology image",
    "tissue section",
    "tissue slide stained with H&E",
    "microscopy field of tissue",
)
PROMPTS = {
    "normal": "a histology patch of normal tissue",
    "tumour": "a histology patch with tumour",
    "lymphocytes": "a histology patch with a lymphocytic infiltrate",
}
# Optical density per unit of dye in red, green, blue: two published estimates; laboratories lie between.
_HAEMATOXYLIN = np.array([[0.650, 0.704, 0.286], [0.563, 0.720, 0.406]])
_EOSIN = np.array([[0.072, 0.990, 0.105], [0.216, 0.801, 0.558]])


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw a scene: stain, stroma, glands, nuclei and the finding, in unit coordinates.

    Shapes   nuclei (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    fractions of the side, radians, optical density; tone is the strength of the stain.
    Returns  parameters for `render` and `describe`.
    Raises   nothing.
    Source   stain vectors after Ruifrok and Johnston 2001 and Macenko et al. 2009; geometry ours.
    """
    severity = 0.0 if finding == "normal" else float(rng.uniform(0.25, 1))
    area: dict[str, Any] | None = None
    if finding != "normal":
        decay = 0.13 / np.arange(1, 6)[:, None]
        decay[0] = 0  # the first mode would only move the area from where the captions say it is
        area = {
            "cx": float(rng.uniform(0.2, 0.8)),
            "cy": float(rng.uniform(0.2, 0.8)),
            "radius": float(rng.uniform(0.17, 0.37)),
            "squash": float(rng.uniform(0.75, 1.0)),
            "angle": float(rng.uniform(0, np.pi)),
            "modes": rng.normal(0, 1, (5, 2)) * decay,
        }
    grow = float(rng.uniform(0.85, 1.15))  # magnification of this scanner
    slope = float(rng.uniform(0, np.pi))
    # No gland survives in a tumour; lymphocytes gather between glands and may touch them.
    glands, nuclei = _crypts(rng, area, 0.7 if finding == "tumour" else -0.5, grow)
    spindles = _stroma(rng, slope, grow)
    nuclei.append(spindles[_outside(spindles, glands, edge=1.08)])
    if area is not None:
        inner = _malignant(rng, severity, grow) if finding == "tumour" else _infiltrate(rng, severity, grow)
        at = outline(inner[:, 0], inner[:, 1], **area)
        if finding == "tumour":
            around, inner = np.concatenate(nuclei), inner[at < 1]
            nuclei = [around[outline(around[:, 0], around[:, 1], **area) > 0.97]]
        else:
            # An infiltrate thins out towards its border.
            inner = inner[(rng.random(len(at)) < inside(at, 0.35, 0.9)) & _outside(inner, glands, edge=0.85)]
        nuclei.append(inner)
    nuclei.append(_lone(rng, grow))  # as red cells and fat vacuoles, met in every tissue
    mix = rng.uniform(-0.15, 1.15, 2)[:, None]
    return {
        "finding": finding,
        "severity": severity,
        "seed": int(rng.integers(2**31)),
        "area": area,
        "glands": glands,
        "nuclei": _seen(np.concatenate(nuclei).astype(np.float32)),
        "stain": np.exp(0.28 * tone + rng.normal(0, 0.12, 2)),
        "vectors": np.stack([(1 - m) * v[0] + m * v[1] for m, v in zip(mix, (_HAEMATOXYLIN, _EOSIN), strict=True)]),
        "slope": slope,
        "fibres": (float(rng.uniform(9, 16)), float(rng.uniform(0.04, 0.16)), float(rng.uniform(2, 5))),
        "eosin": float(rng.uniform(0.28, 0.6)),
        "veil": float(rng.uniform(0.0, 0.09)),
        "warp": texture(rng, 5, 1),
        "mottle": texture(rng, 6, 2),
        "chromatin": rng.standard_normal((40, 40), dtype=np.float32),
        "red_cells": rng.uniform(0, 1, (int(rng.integers(0, 9)), 2)),
        "vacuoles": np.c_[rng.uniform(0, 1, (v := int(rng.integers(0, 4)), 2)), rng.uniform(0.03, 0.09, v)],
        "lamp": 0.97 + 0.025 * rng.uniform(-1, 1, 3),
        "noise": float(rng.uniform(0.006, 0.02)),
    }


def _seen(cells: Field) -> Field:
    return cells[((cells[:, :2] > -cells[:, 2:3]) & (cells[:, :2] < 1 + cells[:, 2:3])).all(axis=1)]


def _nuclei(cells: Field, size: int) -> Field:
    """Dye in the nuclei: a body, a membrane, chromatin that opens and a nucleolus where it has opened."""
    long, short, angle, dye, bump, open_ = (cells[:, k, None, None] for k in range(2, 8))
    c, s = np.cos(angle), np.sin(angle)

    def shape(dx: Field, dy: Field) -> Field:
        u, v = (c * dx + s * dy) / long, (c * dy - s * dx) / short
        square = u * u + v * v
        far = np.sqrt(square) + bump * u * (u * u - 3 * v * v) / (0.3 + square)
        body = inside(far, 0.5 / size / short + 0.06)
        spot = np.maximum(1 - ((u - 0.15) ** 2 + v * v) * 8, 0)
        return dye * body * (1 - open_ * 0.75 * np.maximum(1 - far * far, 0) + 0.8 * open_ * spot)

    return stamp(size, cells[:, 0], cells[:, 1], float(1.25 * cells[:, 2:4].max(initial=0.01)), shape)


def _box(cx: float, cy: float, reach: float, size: int) -> tuple[slice, slice]:
    # Rows and columns of the pixels around a centre; drawing only there is most of the speed.
    sides = ((max(int((c - reach) * size), 0), max(int((c + reach) * size) + 2, 0)) for c in (cy, cx))
    rows, cols = (slice(low, high) for low, high in sides)
    return rows, cols


def render(params: dict, size: int) -> tuple[Field, Field]:
    """Paint the scene: concentrations of both dyes, then Beer-Lambert absorption per channel.

    Shapes   image (size, size, 3), mask (size, size).
    Units    image in [0, 1]; the mask is 1 in the tumour area or the infiltrate.
    Returns  (image, mask), float32.
    Raises   nothing.
    Source   Ruifrok and Johnston 2001: intensity = exp(-optical density).
    """
    x, y = grid(size)
    slope, (waves, depth, bend) = params["slope"], params["fibres"]
    mottle = paint(params["mottle"], size)
    phase = 2 * np.pi * waves * (np.float32(np.cos(slope + np.pi / 2)) * x + np.float32(np.sin(slope + np.pi / 2)) * y)
    warp = paint(params["warp"], size)
    # Bundles come and go: the wave is strong in one place and lost in the next.
    fibre = np.sin(phase + np.float32(bend) * warp) * np.clip(np.float32(0.55) + np.float32(0.5) * mottle, 0, 1)
    eosin = params["eosin"] * (1 + np.float32(0.16) * mottle + np.float32(2 * depth) * fibre)
    dye = np.full((size, size), 0.05 + params["veil"], dtype=np.float32)
    mask = np.zeros((size, size), dtype=np.float32)
    soft = 1.5 / size
    if params["area"] is not None:
        far = outline(x, y, **params["area"])
        mask = (far < 1).astype(np.float32)
        if params["finding"] == "tumour":
            # Cytoplasm instead of fibres, and a little bluer for its RNA.
            body = inside(far, 0.08)
            eosin += body * (0.85 * params["eosin"] * (1 + np.float32(0.15) * mottle) - eosin)
            dye += np.float32(0.07) * body
    for cx, cy, radius in params["vacuoles"]:
        box = _box(cx, cy, radius + soft, size)
        far = np.hypot(x[:, box[1]] - np.float32(cx), y[box[0]] - np.float32(cy))
        eosin[box] *= 1 - np.float32(0.9) * inside(far, soft, radius)
    for gland in params["glands"]:
        form, radius = gland["shape"], gland["shape"]["radius"]
        box = _box(form["cx"], form["cy"], 1.25 * radius, size)
        far = outline(x[:, box[1]], y[box[0]], **form)
        edge = soft / radius
        wall = inside(far, edge)
        cell = params["eosin"] * (0.85 - 0.4 * gland["mucin"])
        hole = 1 - np.float32(0.92) * inside(far, edge + 0.05, gland["lumen"])
        eosin[box] = (eosin[box] + wall * (np.float32(cell) + np.float32(0.12) * mottle[box] - eosin[box])) * hole
        dye[box] = (dye[box] + np.float32(0.05) * wall) * hole
    if len(params["red_cells"]):
        spots = params["red_cells"]
        eosin += stamp(size, spots[:, 0], spots[:, 1], 0.03, lambda u, v: 0.6 * inside(np.hypot(u, v), 0.008, 0.021))
    # Few nuclei are large, and a window of their size around every small one would be slow.
    large = params["nuclei"][:, 2] > 0.033
    cells = np.maximum(_nuclei(params["nuclei"][~large], size), _nuclei(params["nuclei"][large], size))
    dye += cells * (1 + np.float32(0.12) * smooth(params["chromatin"], size))
    eosin *= 1 - np.float32(0.5) * np.minimum(cells, 1)
    stain = params["vectors"] * params["stain"][:, None]
    layers = np.stack([dye, np.maximum(eosin, 0)], axis=-1).reshape(-1, 2)
    density = layers @ stain.astype(np.float32)
    image = np.exp(-density).reshape(size, size, 3) * params["lamp"].astype(np.float32)
    image += np.float32(params["noise"]) * grain(params["seed"], size, 3)
    return np.clip(image, 0, 1).astype(np.float32), mask


def describe(params: dict) -> Facts:
    """State what is true of the scene.

    Shapes   none.
    Units    none.
    Returns  Facts; the words for size, place and severity come from the parameters drawn.
    Raises   nothing.
    Source   ours.
    """
    if params["finding"] == "normal":
        names = ("normal tissue pattern", "normal tissue architecture", "benign glandular pattern")
        signs = ("orderly glands", "regular basal nuclei around each lumen", "preserved gland architecture")
        absent = ("tumour", "carcinoma", "lymphocytic infiltrate")
        return Facts(finding=names, positive=False, detail=signs, absent=absent)
    area, severity = params["area"], params["severity"]
    size = "small" if area["radius"] < 0.235 else "medium-sized" if area["radius"] < 0.305 else "large"
    place = whereabouts(area["cx"], area["cy"], "patch")
    if params["finding"] == "lymphocytes":
        return Facts(
            finding=("lymphocytic infiltrate", "infiltrate of lymphocytes", "lymphoid aggregate"),
            size=size,
            place=place,
            severity="mild" if severity < 0.5 else "moderate" if severity < 0.75 else "severe",
            detail=("many small round dark nuclei", "crowded small lymphocytes"),
            absent=("tumour", "carcinoma"),
        )
    grade = "mild" if severity < 0.5 else "moderate" if severity < 0.75 else "marked"
    return Facts(
        finding=("tumour", "carcinoma", "malignant tumour", "focus of carcinoma"),
        size=size,
        place=place,
        detail=(
            f"{grade} nuclear atypia",
            f"{grade} nuclear pleomorphism",
            "crowded nuclei and no gland order",
        ),
        absent=("lymphocytic infiltrate",),
    )


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


def _stroma(rng: np.random.Generator, slope: float, grow: float) -> NDArray:
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


def _malignant(rng: np.random.Generator, severity: float, grow: float) -> NDArray:
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


def _infiltrate(rng: np.random.Generator, severity: float, grow: float) -> NDArray:
    """Place small round dark lymphocytes over the whole patch, denser with severity.

    Shapes   result (N, 8): x, y, two radii, angle, dye, irregularity, openness of the chromatin.
    Units    severity in [0, 1].
    Returns  float64 array.
    Raises   nothing.
    Source   ours.
    """
    radius = 0.0195 * grow
    return _lymphocytes(_scatter(rng, radius * (3.1 - 0.9 * severity), 0.38), rng, radius)


def _lone(rng: np.random.Generator, grow: float) -> NDArray:
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


def _crypts(rng: np.random.Generator, avoid: dict | None, gap: float, grow: float) -> tuple[list[dict], list[NDArray]]:
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


def _outside(points: NDArray, glands: list[dict], *, edge: float) -> NDArray:
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
