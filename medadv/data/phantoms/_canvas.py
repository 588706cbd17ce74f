"""What every phantom is drawn with: unit coordinates, soft shapes, smooth noise. Numpy, float32, no state.

Coordinates run over [0, 1] from left to right (x) and top to bottom (y), so a scene is the same at every size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""(H, W), or anything that broadcasts to it."""


@lru_cache(maxsize=16)
def grid(size: int) -> tuple[Field, Field]:
    """Return the pixel centres: x (1, size) and y (size, 1), read-only, ready to broadcast.

    Shapes   x (1, size), y (size, 1).
    Units    fractions of the image side.
    Returns  two float32 arrays; keep them apart as long as you can, outer sums are what costs time.
    Raises   nothing.
    Source   ours.
    """
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    centres.setflags(write=False)
    return centres[None, :], centres[:, None]


def ellipse(size: int, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> Field:
    """Return the distance from a centre in units of the radii: 0 in the middle, 1 on the rim.

    Shapes   result (size, size).
    Units    centre and radii in fractions of the side, angle in radians (clockwise on the screen).
    Returns  float32 array.
    Raises   nothing.
    Source   ours.
    """
    x, y = grid(size)
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    if angle:
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    return np.sqrt((dx / np.float32(rx)) ** 2 + (dy / np.float32(ry)) ** 2)


def inside(distance: NDArray, edge: float | NDArray, at: float = 1.0) -> Field:
    """Turn a distance into a soft shape: 1 well inside `at`, 0 well outside, smooth in between.

    Shapes   as given.
    Units    distance, edge and at in the same unit.
    Returns  float32 array in [0, 1].
    Raises   nothing.
    Source   smoothstep.
    """
    t = np.clip((np.float32(at) - distance) / np.float32(edge) * np.float32(0.5) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def stroke(size: int, points: NDArray, width: float | NDArray) -> Field:
    """Return how much of each pixel a thick polyline covers.

    Shapes   points (P, 2) as x, y; width a number or (P - 1,); result (size, size).
    Units    fractions of the side.
    Returns  float32 array in [0, 1]; a line thinner than a pixel is drawn a pixel wide and fainter.
    Raises   nothing.
    Source   distance to a segment.
    """
    x, y = grid(size)
    points = np.asarray(points, dtype=np.float32)
    widths = np.broadcast_to(np.asarray(width, dtype=np.float32), (len(points) - 1,))
    pixel = np.float32(1 / size)
    cover = np.zeros((size, size), dtype=np.float32)
    for (ax, ay), (bx, by), w in zip(points[:-1], points[1:], widths, strict=True):
        half = max(w, pixel) / 2 + pixel
        # Only the box around the segment is touched: this is what keeps vessels cheap.
        l, r = max(int((min(ax, bx) - half) * size), 0), min(int((max(ax, bx) + half) * size) + 2, size)
        t, b = max(int((min(ay, by) - half) * size), 0), min(int((max(ay, by) + half) * size) + 2, size)
        if l >= r or t >= b:
            continue
        px, py = x[:, l:r] - ax, y[t:b] - ay
        vx, vy = bx - ax, by - ay
        along = np.clip((px * vx + py * vy) / max(vx * vx + vy * vy, 1e-12), 0, 1)
        far = np.sqrt((px - along * vx) ** 2 + (py - along * vy) ** 2)
        drawn = np.clip((max(w, pixel) / 2 - far) * size + 0.5, 0, 1) * min(w / pixel, 1)
        np.maximum(cover[t:b, l:r], drawn, out=cover[t:b, l:r])
    return cover


@lru_cache(maxsize=64)
def _spread(cells: int, size: int) -> Field:
    # Catmull-Rom weights (size, cells): the lattice sits on the unit interval, ends included.
    at = (np.arange(size) + 0.5) / size * (cells - 1)
    left = np.floor(at).astype(int)
    t = at - left
    weights = np.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ]
    )
    table = np.zeros((size, cells), dtype=np.float32)
    for k in range(4):
        np.add.at(table, (np.arange(size), np.clip(left + k - 1, 0, cells - 1)), weights[k])
    return table


def smooth(lattice: NDArray, size: int) -> Field:
    """Interpolate a coarse lattice of values over the image: smooth noise that is the same scene at every size.

    Shapes   lattice (rows, columns), which may differ for stretched noise; result (size, size).
    Units    those of the lattice.
    Returns  float32 array.
    Raises   nothing.
    Source   Catmull-Rom splines.
    """
    rows, columns = np.shape(lattice)
    return _spread(rows, size) @ np.asarray(lattice, dtype=np.float32) @ _spread(columns, size).T


def texture(rng: np.random.Generator, cells: int = 8, octaves: int = 2) -> list[NDArray]:
    """Draw the lattices of a fractal texture; keep them in the parameters and paint them with `paint`.

    Shapes   lattice k is (cells * 2**k, cells * 2**k).
    Units    standard normal, halved from octave to octave.
    Returns  list of float32 arrays.
    Raises   nothing.
    Source   ours.
    """
    sides = [cells * 2**k for k in range(octaves)]
    return [rng.standard_normal((side, side), dtype=np.float32) * np.float32(0.5**k) for k, side in enumerate(sides)]


def paint(lattices: list[NDArray], size: int) -> Field:
    """Sum the octaves of a texture over the image.

    Shapes   result (size, size).
    Units    about standard normal.
    Returns  float32 array.
    Raises   nothing.
    Source   ours.
    """
    total = smooth(lattices[0], size)
    for lattice in lattices[1:]:
        total = total + smooth(lattice, size)
    return total


def grain(seed: int, size: int, channels: int = 1) -> Field:
    """Return white noise, one value a pixel: what a detector adds.

    Shapes   result (size, size), or (size, size, channels) for more than one.
    Units    standard normal.
    Returns  float32 array that depends on (seed, size) alone.
    Raises   nothing.
    Source   ours.
    """
    shape = (size, size) if channels == 1 else (size, size, channels)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
