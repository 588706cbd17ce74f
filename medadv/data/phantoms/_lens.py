"""What lies between skin and sensor in dermoscopy, alike in every class: hairs, bubbles, a ruler, light."""

from __future__ import annotations

import numpy as np

from medadv.data.phantoms._canvas import Field, grid, inside
from medadv.data.phantoms._forms import stamp


def lens(rng: np.random.Generator) -> dict:
    """Draw the disturbances of one picture; nothing here knows the finding.

    Shapes   hairs (n, 6): x, y, angle, bend, half length, width; bubbles (n, 3): x, y, radius.
    Units    fractions of the side, radians.
    Returns  parameters for `through`.
    Raises   nothing.
    Source   ours; the artefacts are those of the ISIC archive.
    """
    hairs = int(rng.integers(1, 7)) if rng.random() < 0.5 else 0
    bubbles = int(rng.integers(1, 5)) if rng.random() < 0.35 else 0
    turn = rng.uniform(0, np.pi) + rng.normal(0, 0.5, hairs)
    hair = [rng.uniform(0, 1, hairs), rng.uniform(0, 1, hairs), turn, rng.normal(0, 0.8, hairs)]
    hair += [rng.uniform(0.2, 0.7, hairs), rng.uniform(0.006, 0.012, hairs)]
    ruler = (int(rng.integers(4)), float(rng.uniform(0.06, 0.1)), float(rng.uniform(0, 1)))
    return {
        "hairs": np.column_stack(hair),
        "hair_dark": float(rng.uniform(0.5, 0.9)),
        "bubbles": np.column_stack([rng.uniform(0, 1, (bubbles, 2)), rng.uniform(0.02, 0.06, bubbles)]),
        "corners": float(rng.uniform(0.53, 0.68)) if rng.random() < 0.3 else 0.0,
        "ruler": ruler if rng.random() < 0.25 else None,
        "slope": rng.normal(0, 0.1, 2),
        "lamp": float(rng.uniform(0.84, 1.0)) * (1 + rng.normal(0, 0.025, 3)),
        "noise": float(rng.uniform(0.006, 0.02)),
    }


def through(image: Field, params: dict, size: int) -> Field:
    """Show a picture through the lens.

    Shapes   image (size, size, 3); result the same.
    Units    [0, 1].
    Returns  float32 array, a new one.
    Raises   nothing.
    Source   ours.
    """
    x, y = grid(size)
    sx, sy = params["slope"]
    light = 1 + np.float32(sx) * (x - 0.5) + np.float32(sy) * (y - 0.5)
    if len(params["hairs"]):
        light = light * (1 - np.float32(params["hair_dark"]) * _hairs(params["hairs"], size))
    if params["ruler"] is not None:
        light = light * (1 - 0.8 * _ruler(params["ruler"], size))
    if params["corners"]:
        far = np.sqrt((x - np.float32(0.5)) ** 2 + (y - np.float32(0.5)) ** 2)
        light = light * (np.float32(0.06) + np.float32(0.94) * inside(far, 0.04, params["corners"]))
    image = image * (light[..., None] * params["lamp"].astype(np.float32))
    if len(params["bubbles"]):
        image = image + np.float32(0.28) * _bubbles(params["bubbles"], size)[..., None]
    return image


def _hairs(hairs: Field, size: int) -> Field:
    x, y = grid(size)
    x0, y0, turn, bend, half, width = (hairs[:, k, None, None].astype(np.float32) for k in range(6))
    c, s = np.cos(turn), np.sin(turn)
    along = c * (x - x0) + s * (y - y0)
    off = np.abs(c * (y - y0) - s * (x - x0) - bend * along * along)
    thick = np.maximum(width, np.float32(1 / size))
    cover = np.clip((thick / 2 - off) * size + 0.5, 0, 1) * np.clip((half - np.abs(along)) * 12, 0, 1) * (width / thick)
    return cover.max(axis=0)


def _bubbles(bubbles: Field, size: int) -> Field:
    radius = bubbles[:, 2, None, None]

    def shape(dx: Field, dy: Field) -> Field:
        far = np.sqrt(dx * dx + dy * dy) / radius
        glint = 0.8 * inside(np.hypot(dx / radius + 0.4, dy / radius + 0.4), 0.25, 0.2)
        return np.maximum(inside(np.abs(far - 0.9), 0.6 / size / radius + 0.05, 0.1), glint)

    return stamp(size, bubbles[:, 0], bubbles[:, 1], 0.075, shape)


def _ruler(ruler: tuple[int, float, float], size: int) -> Field:
    # Ticks along one side, every second one longer.
    side, period, phase = ruler
    x, y = grid(size)
    along, deep = (x, y) if side % 2 else (y, x)
    deep = deep if side < 2 else 1 - deep
    turn = along / np.float32(period) + np.float32(phase)
    tick = inside(np.abs(turn % 1 - 0.5) * np.float32(period), 0.7 / size, 0.005)
    return tick * inside(deep, 0.02, 0.1) * np.where(np.floor(turn) % 2 == 0, 1, deep < 0.06)
