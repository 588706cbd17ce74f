"""Colour fundus: light crosses the retina's blood, is reflected by what lies behind, and read in three bands.

Melanin of the pigment layer and haemoglobin of choroid, vessels and bleedings absorb (Beer-Lambert, by
channel). The optic disc has no pigment behind it and is therefore pale; its cup is paler still, having lost
the rim's capillaries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field, ellipse, grain, grid, inside, paint, texture
from medadv.data.phantoms._forms import spots
from medadv.data.phantoms.captions import Facts

NAME = "fundus"
NOUNS = ("fundus photograph", "colour fundus image", "retinal photograph")
PROMPTS = {
    "normal": "a fundus photograph of a normal retina",
    "glaucoma": "a fundus photograph with a glaucomatous optic disc",
    "haemorrhages": "a fundus photograph with retinal haemorrhages",
    "exudates": "a fundus photograph with hard exudates",
}
_MELANIN = np.array([0.36, 0.52, 0.85], dtype=np.float32)
_BLOOD = np.array([0.15, 1.0, 0.9], dtype=np.float32)
_SCLERA = np.array([1.0, 0.9, 0.64], dtype=np.float32)
_FLARE = np.array([0.6, 0.9, 1.0], dtype=np.float32)
_LIPID = np.array([1.0, 0.88, 0.42], dtype=np.float32)
# Direction towards the macula (1) or away (-1), and up (-1) or down (1).
_ARCADES = np.array([(1, -1), (1, 1), (-1, -1), (-1, 1)], dtype=np.float32)


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw the parameters of one eye.

    Shapes   none.
    Units    fractions of the image side; tone about -1 (little pigment) to 1 (much).
    Returns  dict for `render` and `describe`.
    Raises   nothing.
    Source   ours; cup-to-disc ratio of at least 0.66 for glaucoma, at most 0.5 otherwise.
    """
    u = rng.uniform
    severity = float(u(0.05, 1))
    right = bool(rng.random() < 0.5)
    temporal = -1.0 if right else 1.0
    disc = np.array([0.5 - temporal * u(0.1, 0.22), 0.5 + u(-0.09, 0.09)])
    radius = float(u(0.11, 0.15))
    ratio = float(0.66 + 0.26 * severity) if finding == "glaucoma" else float(u(0.22, 0.5))
    slack = (1 - ratio) * radius
    params = {
        "finding": finding,
        "severity": severity if finding != "normal" else 0.0,
        "seed": int(rng.integers(2**31)),
        "right": right,
        "disc": disc,
        "radius": radius,
        "narrow": u(0.84, 1.0),
        "tilt": u(-0.3, 0.3),
        "ratio": ratio,
        "cup": disc + np.array([temporal * u(-0.1, 0.5), u(-0.4, 0.4)]) * slack,
        "cup_width": u(0.86, 1.0),
        "rim": u(0.35, 0.65),
        "pallor": u(0.03, 0.14),
        "macula": disc + np.array([temporal * u(0.36, 0.44), u(0.0, 0.06)]),
        "macula_size": u(0.08, 0.13),
        "melanin": float(np.exp(0.55 * tone) * u(0.75, 1.05)),
        "choroid": u(0.42, 0.68),
        "exposure": u(0.85, 1.15),
        "white": np.array([1.0, u(0.92, 1.08), u(0.85, 1.15)], dtype=np.float32),
        "lamp": np.array([0.5 + u(-0.12, 0.12), 0.5 + u(-0.12, 0.12)]),
        "falloff": u(0.6, 1.7),
        "aperture": np.array([0.5 + u(-0.015, 0.015), 0.5 + u(-0.015, 0.015), u(0.465, 0.53)]),
        "mottle": texture(rng, 6, 2),
        "tigroid": texture(rng, 9, 1),
        "crescent": (temporal * u(0.06, 0.2) * radius, u(0.2, 0.8)) if rng.random() < 0.35 else None,
        "flare": (u(0, 2 * np.pi), u(0.06, 0.2)) if rng.random() < 0.3 else None,
        "dust": np.stack([u(0.15, 0.85, 2), u(0.15, 0.85, 2), *[u(0.012, 0.03, 2)] * 2, np.zeros(2)], 1),
        "dusty": float(u(0.05, 0.14)) if rng.random() < 0.3 else 0.0,
        "density": u(0.48, 0.95),
        "noise": u(0.006, 0.018),
    }
    # Vessels leave through the nasal part of the cup: a wide cup pushes the trunk towards the nose.
    trunk = params["cup"] - np.array([temporal * ratio * radius * 0.45, 0])
    params["vessels"] = _vessels(rng, trunk=trunk, temporal=temporal)
    params["lesions"], params["centre"], params["kind"] = _lesions(rng, finding, severity, disc=disc, radius=radius)
    # Single precision throughout: one double among the parameters would make every field of it double.
    return {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in params.items()}


def render(params: dict, size: int) -> tuple[NDArray, NDArray]:
    """Photograph the eye; the mask is the cup for glaucoma, the spots for haemorrhages and exudates.

    Shapes   image (size, size, 3), mask (size, size).
    Units    size in pixels.
    Returns  image in [0, 1] and mask of 0 and 1, float32.
    Raises   nothing.
    Source   ours; absorption by layers after Preece and Claridge 2002, with three bands and round numbers.
    """
    p = params
    x, y = grid(size)
    radius, finding = p["radius"], p["finding"]
    (dx, dy), (cx, cy), (mx, my), narrow, tilt = p["disc"], p["cup"], p["macula"], p["narrow"], p["tilt"]
    disc = inside(ellipse(size, dx, dy, radius * narrow, radius, tilt), 0.13)
    height = radius * p["ratio"]
    far_cup = ellipse(size, cx, cy, height * p["cup_width"] * narrow, height, tilt)
    cup = inside(far_cup, 0.16 / p["ratio"] * 0.6)
    macula = np.exp(-((x - mx) ** 2 + (y - my) ** 2) / np.float32(p["macula_size"] ** 2))
    mottle = paint(p["mottle"], size)

    retina = 1 - disc
    if p["crescent"]:
        shift, bare = p["crescent"]
        ring = ellipse(size, p["disc"][0] + shift, p["disc"][1], radius * 1.05, radius * 1.1, p["tilt"])
        near = inside(ring, 0.2)
        retina = retina * (1 - np.float32(bare) * near)
    melanin = (1 + 0.1 * mottle + 0.55 * macula) * retina * np.float32(p["melanin"])
    deep = (1 + 0.12 * paint(p["tigroid"], size) + 0.35 * macula) * retina * np.float32(p["choroid"])
    deep += disc * (p["rim"] + (p["pallor"] - p["rim"]) * cup)
    image = np.exp(-(melanin[..., None] * _MELANIN + deep[..., None] * _BLOOD)) * _SCLERA

    spotted = spots(size, p["lesions"])
    front = _trace(p["vessels"], size=size)
    if finding == "exudates":
        image += (spotted * np.float32(p["density"]))[..., None] * (_LIPID * 0.95 - image)
    elif finding == "haemorrhages":
        front = np.maximum(front, spotted * np.float32(2 * p["density"]))
    image *= np.exp(-front[..., None] * _BLOOD)

    fall = (x - p["lamp"][0]) ** 2 + (y - p["lamp"][1]) ** 2
    light = np.exp(-np.float32(p["falloff"]) * fall) * np.float32(p["exposure"])
    if p["dusty"]:
        light *= 1 - np.float32(p["dusty"]) * spots(size, p["dust"])
    image *= light[..., None] * p["white"]
    ax, ay, rim = p["aperture"]
    centred = np.sqrt((x - ax) ** 2 + (y - ay) ** 2)
    if p["flare"]:
        angle, glow = p["flare"]
        lit = ((x - ax) * np.float32(np.cos(angle)) + (y - ay) * np.float32(np.sin(angle))) / rim
        image += (np.square(np.square(np.clip(lit, 0, 1))) * np.float32(glow))[..., None] * np.array(
            [0.6, 0.9, 1], dtype=np.float32
        )
    image += 0.012
    image *= inside(centred, 0.012, rim)[..., None]
    image += grain(p["seed"], size, 3) * np.float32(p["noise"])
    if finding == "glaucoma":
        mask = (far_cup <= 1).astype(np.float32)
    else:
        mask = (spotted > min(0.5, 0.6 * float(spotted.max()))).astype(np.float32)
    return np.clip(image, 0, 1).astype(np.float32, copy=False), mask


def describe(params: dict) -> Facts:
    """Say what the eye shows.

    Shapes   none.
    Units    none.
    Returns  Facts; the side is the patient's eye, the place a quadrant of the photograph.
    Raises   nothing.
    Source   ours.
    """
    p = params
    side = "right" if p["right"] else "left"
    eye = (f"in the {side} eye", f"of the {side} eye")
    severity = ("mild", "moderate", "severe")[int(np.searchsorted((0.35, 0.68), p["severity"]))]
    if p["finding"] == "normal":
        return Facts(
            ("normal retina", "normal fundus", "healthy retina", "normal eye background"),
            positive=False,
            place=eye,
            detail=("a small optic cup", f"a cup-to-disc ratio of {p['ratio']:.1f}", "a healthy neural rim"),
            absent=("haemorrhages", "exudates", "glaucoma"),
        )
    if p["finding"] == "glaucoma":
        return Facts(
            ("glaucomatous optic disc", "glaucomatous disc", "glaucomatous optic nerve head"),
            place=eye,
            severity=severity,
            detail=(
                "a large optic cup",
                f"a cup-to-disc ratio of {p['ratio']:.1f}",
                "thinning of the neural rim",
            ),
        )
    dx, dy = p["centre"] - 0.5
    upper, leftish = dy < 0, dx < 0
    part = "temporal" if leftish == p["right"] else "nasal"
    place = (
        f"in the {'upper' if upper else 'lower'} {'left' if leftish else 'right'} of the image",
        f"in the {'upper' if upper else 'lower'} {part} quadrant",
        f"in the {'supero' if upper else 'infero'}{part} quadrant of the {side} eye",
    )
    spread = float(p["lesions"][:, 2].mean())
    if p["finding"] == "exudates":
        names: tuple[str, ...] = ("hard exudate", "lipid exudate", "yellow exudate")
        detail: tuple[str, ...] = ("bright yellow deposits", "clustered lipid deposits")
        size = ("small", "medium-sized", "large")[int(np.searchsorted((0.0145, 0.0185), spread))]
    else:
        kind = p["kind"]
        names = ("retinal haemorrhage", "intraretinal haemorrhage", f"{kind} haemorrhage")
        detail = ("dark red spots", f"bleeding of the {kind} kind")
        size = ("small", "medium-sized", "large")[int(np.searchsorted((0.021, 0.029), spread))]
    return Facts(names, count=len(p["lesions"]), size=size, place=place, severity=severity, detail=detail)


def _vessels(rng: np.random.Generator, *, trunk: NDArray, temporal: float) -> NDArray:
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


def _trace(segments: NDArray, *, size: int) -> Field:
    """Paint the tree.

    Shapes   segments (S, 6) from `_vessels`; result (size, size).
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


def _lesions(
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
