"""A polyp: a dome on the wall, with or without a stalk, lit from one side and casting a shadow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field, ellipse, grid, inside


def grow(rng: np.random.Generator, hour: int) -> dict:
    """Draw one polyp on the clock face of the image.

    Shapes   none.
    Units    hour from 1 to 12; lengths in fractions of the side, angles in radians.
    Returns  dict for `mount`.
    Raises   nothing.
    Source   ours.
    """
    u = rng.uniform
    radius = float(0.055 + 0.1 * u(0, 1) ** 1.2)
    angle = (hour + u(-0.35, 0.35)) * np.pi / 6
    far = u(0.16, 0.4 - 0.75 * radius)
    at = 0.5 + far * np.array([np.sin(angle), -np.cos(angle)])
    return {
        "hour": hour,
        "at": at.astype(np.float32),
        "radius": radius,
        "squash": u(0.72, 1.0),
        "angle": u(0, np.pi),
        "lumpy": u(0.0, 0.1),
        "stalk": bool(rng.random() < 0.3),
        "lean": angle + u(-0.8, 0.8),
        "long": u(1.5, 2.1),
        "height": u(0.3, 0.7),
        "rough": u(0.02, 0.1),
        "blood": u(0.75, 1.5),
        "shadow": u(0.25, 0.6),
    }


def mount(
    polyp: dict, *, light: Field, blood: Field, mottle: Field, lamp: NDArray, size: int
) -> tuple[Field, Field, Field]:
    """Put a polyp on the wall.

    Shapes   light, blood, mottle (size, size); lamp (2,), a unit vector towards the lamp.
    Units    light in fractions of full light, blood in optical densities (green).
    Returns  light and blood with the polyp, and how much of each pixel it covers.
    Raises   nothing.
    Source   ours; a lit hemisphere.
    """
    q = polyp
    # The dome takes the place of the wall; its light is its own slope's, on the level of the wall around it.
    r, (cx, cy) = q["radius"], q["at"]
    x, y = grid(size)
    far = ellipse(size, cx, cy, r, r * q["squash"], q["angle"]) * (1 + np.float32(q["lumpy"]) * mottle)
    dome = inside(far, 0.16)
    # The crescent lies on the side away from the lamp.
    shade = inside(ellipse(size, cx - 0.3 * r * lamp[0], cy - 0.3 * r * lamp[1], r * 1.15, r * 1.1), 0.7)
    light = light * (1 - np.float32(q["shadow"]) * shade * (1 - dome))
    cover = dome
    if q["stalk"]:
        way = np.array([np.sin(q["lean"]), -np.cos(q["lean"])])
        half = 0.5 * r * q["long"]
        mx, my = q["at"] + half * way
        axis = ellipse(size, mx, my, half, 0.36 * r, q["lean"] - np.pi / 2)
        stem = inside(axis, 0.35)
        lit = (0.4 + 0.55 * light) * (1.2 - 0.75 * axis * axis)
        light = light + np.asarray(stem * (lit - light), dtype=np.float32)
        cover = np.maximum(dome, stem)
    up = np.sqrt(np.clip(1 - far * far, 0, 1))
    slope = ((x - cx) * np.float32(lamp[0]) + (y - cy) * np.float32(lamp[1])) / np.float32(r)
    lit = np.float32(0.58) + np.float32(q["height"]) * (up - 0.5 + 0.65 * slope)
    lit += np.float32(q["rough"]) * mottle
    light = light + dome * (np.maximum(lit * (0.45 + 0.7 * light), 0.04) - light)
    return light, blood * (1 + cover * np.float32(q["blood"] - 1)), cover
