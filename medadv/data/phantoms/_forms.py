"""Wavy outlines, and many small things drawn at once: what cells, glands and skin lesions are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field


def outline(
    x: NDArray,
    y: NDArray,
    modes: NDArray,
    *,
    cx: float,
    cy: float,
    radius: float,
    squash: float = 1.0,
    angle: float = 0.0,
) -> NDArray:
    """Return the distance from a centre in units of a wavy radius r(theta): 1 on the border.

    Shapes   x, y any that broadcast (pixel grid or points); modes (K, 2): cosine, sine of modes 1 to K.
    Units    centre and radius in fractions of the side, modes in fractions of the radius, angle in radians.
    Returns  float array of the precision of x and y.
    Raises   nothing.
    Source   border function as a Fourier series.
    """
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    if angle:
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    dx, dy = dx / np.float32(radius), dy / np.float32(radius * squash)
    far = np.sqrt(dx * dx + dy * dy) + np.float32(1e-6)
    c1, s1 = dx / far, dy / far
    ck, sk, rim = c1, s1, np.ones_like(far)
    for k, (a, b) in enumerate(np.asarray(modes, dtype=np.float32)):
        # Angle addition instead of arctan2 and cos: several times faster.
        if k:
            ck, sk = ck * c1 - sk * s1, sk * c1 + ck * s1
        rim = rim + a * ck + b * sk
    return far / np.maximum(rim, np.float32(0.25))


def stamp(size: int, x: NDArray, y: NDArray, reach: float, shape: Callable[[NDArray, NDArray], NDArray]) -> Field:
    """Draw many small things at once, each in its own window; where they overlap the largest value stays.

    Shapes   x, y (N,); shape gets offsets (N, 1, W) and (N, W, 1) and returns (N, W, W); result (size, size).
    Units    fractions of the side; reach is the half side of the window.
    Returns  float32 array, 0 where nothing was drawn.
    Raises   nothing.
    Source   ours; no Python loop over the things.
    """
    half = int(np.ceil(reach * size)) + 1
    side = size + 4 * half
    col = np.clip(np.floor(x * size).astype(int), -half, size + half - 1)
    row = np.clip(np.floor(y * size).astype(int), -half, size + half - 1)
    step = np.arange(-half, half + 1)
    cols, rows = col[:, None, None] + step[None, None, :], row[:, None, None] + step[None, :, None]
    dx = ((cols + 0.5) / size - np.asarray(x)[:, None, None]).astype(np.float32)
    dy = ((rows + 0.5) / size - np.asarray(y)[:, None, None]).astype(np.float32)
    values = np.asarray(shape(dx, dy), dtype=np.float32)
    flat = np.zeros(side * side, dtype=np.float32)
    np.maximum.at(flat, ((rows + 2 * half) * side + cols + 2 * half).ravel(), values.ravel())
    return flat.reshape(side, side)[2 * half : 2 * half + size, 2 * half : 2 * half + size]


def spots(size: int, places: NDArray, strength: float | NDArray = 1.0) -> Field:
    """Return how much of each pixel many small ellipses cover, drawn all at once.

    Shapes   places (N, 5) as x, y, rx, ry, angle; strength a number or (N,); result (size, size).
    Units    fractions of the side, radians; strength in [0, 1].
    Returns  float32 array in [0, 1], the strongest where spots meet; less than a pixel is drawn fainter.
    Raises   nothing.
    Source   ours, by `stamp`.
    """
    places = np.asarray(places, dtype=np.float32).reshape(-1, 5)
    if not len(places):
        return np.zeros((size, size), dtype=np.float32)
    x, y, rx, ry, angle = places.T
    pixel = np.float32(1 / size)
    wide, high = np.maximum(rx, pixel / 2)[:, None, None], np.maximum(ry, pixel / 2)[:, None, None]
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    full = (rx * ry * np.asarray(strength, dtype=np.float32))[:, None, None] / (wide * high)

    def shape(dx: NDArray, dy: NDArray) -> NDArray:
        far = np.sqrt(((c * dx + s * dy) / wide) ** 2 + ((c * dy - s * dx) / high) ** 2)
        return np.clip((1 - far) * (np.minimum(wide, high) * np.float32(size)) + np.float32(0.5), 0, 1) * full

    # stamp adds a pixel and a half of its own: the window is kept tight, for it is what costs time.
    return stamp(size, x, y, float(max(wide.max(), high.max()) - pixel / 2), shape)
