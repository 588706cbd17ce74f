"""What lies in the retina: its vessel tree, and the bleedings and deposits that disease leaves there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field
from medadv.data.phantoms._forms import spots

# Direction towards the macula (1) or away (-1), and up (-1) or down (1).
_ARCADES = np.array([(1, -1), (1, 1), (-1, -1), (-1, 1)], dtype=np.float32)


def vessels(rng: np.random.Generator, *, trunk: NDArray, temporal: float) -> NDArray:
    """Grow the vessel tree from where it leaves the disc: four arcades of an artery and a vein each.

    Shapes   trunk (2,); result (S, 6): x, y at both ends, width, blood.
    Units    fractions of the side; blood in optical densities (green); temporal (-1, 1) is the macula's side.
    Returns  float32 array.
    Raises   nothing.
    Source   ours.
    """
    t = np.linspace(0, 1, 7, dtype=np.float32)
    way = np.repeat(_ARCADES, 2, axis=0)
    vein = np.tile([0.0, 1.0], 4)
    towards = way[:, :1] > 0
    long = np.where(towards, rng.uniform(0.55, 0.8, (8, 1)), rng.uniform(0.3, 0.5, (8, 1)))
    tall = np.where(towards, rng.uniform(0.24, 0.34, (8, 1)), rng.uniform(0.3, 0.48, (8, 1)))
    bend = np.where(towards, 1.75, 1.2)
    wave = np.cumsum(rng.normal(0, 0.011, (2, 8, 7)), axis=2) * t
    xs = trunk[0] + rng.uniform(-0.012, 0.012, (8, 1)) + temporal * way[:, :1] * long * t**bend + wave[0]
    ys = trunk[1] + way[:, 1:] * tall * (1 - (1 - t) ** 2.1 - 0.25 * towards * t**3) + wave[1]
    # Eyes differ in width; arteries have about two thirds of a vein's, and less dark blood.
    taper = rng.uniform(0.8, 1.2) * rng.uniform(0.85, 1.15, (8, 1)) * (1.05 - 0.6 * t[:-1])
    wide = (0.0115 + 0.006 * vein)[:, None] * taper
    dark = np.broadcast_to((0.6 + 0.5 * vein)[:, None] * rng.uniform(0.8, 1.15), wide.shape)
    mains = np.stack([xs[:, :-1], ys[:, :-1], xs[:, 1:], ys[:, 1:], wide, dark], axis=-1).reshape(-1, 6)

    at, which = rng.integers(2, 5, 12), np.arange(12) % 8
    heading = np.arctan2(ys[which, at + 1] - ys[which, at], xs[which, at + 1] - xs[which, at])
    turn = rng.uniform(0.45, 1.0, 12) * rng.choice([-1.0, 1.0], 12)
    curl = heading[:, None] + turn[:, None] * np.array([1.0, 0.8, 0.5]) + rng.normal(0, 0.15, (12, 3))
    stride = rng.uniform(0.05, 0.09, (12, 1))
    zero = np.zeros((12, 1))
    bx = xs[which, at][:, None] + np.concatenate([zero, np.cumsum(stride * np.cos(curl), 1)], 1)
    by = ys[which, at][:, None] + np.concatenate([zero, np.cumsum(stride * np.sin(curl), 1)], 1)
    thin = wide[which, at][:, None] * np.array([0.7, 0.55, 0.4])
    faint = np.broadcast_to(dark[which, at][:, None], thin.shape)
    twigs = np.stack([bx[:, :-1], by[:, :-1], bx[:, 1:], by[:, 1:], thin, faint], axis=-1).reshape(-1, 6)
    return np.concatenate([mains, twigs]).astype(np.float32)


def trace(segments: NDArray, *, size: int) -> Field:
    """Paint the tree.

    Shapes   segments (S, 6) from `vessels`; result (size, size).
    Units    optical density of the blood in each pixel.
    Returns  float32 array.
    Raises   nothing.
    Source   ours.
    """
    # Dots every 0.7 pixel, or 1/220 of the side once pixels are finer than that.
    a, b, width, dark = segments[:, :2], segments[:, 2:4], segments[:, 4], segments[:, 5]
    count = np.sqrt(((b - a) ** 2).sum(1)) * min(size * 1.4, 220) + 1
    number = count.astype(int)
    of = np.repeat(np.arange(len(a)), number)
    t = (np.arange(len(of)) - (np.cumsum(number) - number)[of]) / number[of]
    places = np.zeros((len(of), 5), dtype=np.float32)
    places[:, :2] = a[of] + t[:, None] * (b - a)[of]
    places[:, 2:4] = np.maximum(width / 2, np.float32(0.5 / size))[of, None]
    return spots(size, places, (dark * np.minimum(width * size, 1))[of])


def lesions(
    rng: np.random.Generator, finding: str, severity: float, *, disc: NDArray, radius: float
) -> tuple[NDArray, NDArray, str]:
    """Scatter one cluster of bleedings or deposits in one quadrant, off the disc and inside the picture.

    Shapes   disc (2,); spots (N, 5): x, y, rx, ry, angle; centre (2,).
    Units    fractions of the side; severity in [0, 1] sets number and size.
    Returns  the spots, the centre of the cluster, its kind; no spots and an empty kind for other findings.
    Raises   nothing.
    Source   ours; flames lie along the nerve fibres, which run from the disc.
    """
    if finding not in ("haemorrhages", "exudates"):
        return np.zeros((0, 5), dtype=np.float32), np.full(2, 0.5), ""
    bleeding = finding == "haemorrhages"
    count = 1 + round(severity * 7 + rng.uniform(0, 1)) if bleeding else 4 + round(severity * 9 + rng.uniform(0, 2))
    kind = str(rng.choice(["dot", "blot", "flame"])) if bleeding else "lipid"
    base = {"dot": 0.018, "blot": 0.026, "flame": 0.03, "lipid": 0.0125}[kind] + (0.008 * severity)
    made: list[tuple[float, ...]] = []
    for _ in range(12):
        centre = 0.5 + rng.choice([-1.0, 1.0], 2) * rng.uniform(0.1, 0.24, 2)
        if np.hypot(*(centre - disc)) > radius + 0.06:
            break
    spread = rng.uniform(0.05, 0.075) + 0.05 * severity if bleeding else rng.uniform(0.035, 0.055) + 0.03 * severity
    for x, y in centre + rng.normal(0, spread, (8 * count, 2)):
        gap = radius * 1.12 + base
        if np.hypot(x - disc[0], y - disc[1]) < gap or np.hypot(x - 0.5, y - 0.5) > 0.41:
            continue
        r = base * rng.uniform(0.8, 1.25)
        away = np.arctan2(y - disc[1], x - disc[0]) + rng.normal(0, 0.25)
        slim = 0.42 if kind == "flame" else rng.uniform(0.7, 1.0)
        made.append((x, y, r, r * slim, float(away)))
        if len(made) == count:
            break
    if not made:
        made.append((*centre, base, base, 0.0))
    places = np.array(made, dtype=np.float32)
    return places, places[:, :2].mean(0), kind
