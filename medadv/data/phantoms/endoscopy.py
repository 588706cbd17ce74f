"""Colonoscopy: a lamp beside the lens lights a folded tube, so the near wall is bright and the lumen black.

Mucosa takes its colour from haemoglobin (Beer-Lambert, by channel) and shines where it faces the lamp. A
polyp is a dome on that wall: lit on the lamp's side, dark on the other, with a crescent of shadow behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field, ellipse, grain, grid, inside, paint, texture
from medadv.data.phantoms._forms import spots
from medadv.data.phantoms.captions import Facts

NAME = "endoscopy"
NOUNS = ("colonoscopy image", "endoscopy frame", "endoscopic view of the colon")
PROMPTS = {
    "normal": "a colonoscopy image of normal mucosa",
    "polyp": "a colonoscopy image with a polyp",
}
_BLOOD = np.array([0.16, 1.0, 1.12], dtype=np.float32)
_TISSUE = np.array([1.0, 0.92, 0.8], dtype=np.float32)
_RESIDUE = np.array([0.75, 0.58, 0.2], dtype=np.float32)
_SIDES = {12: "at the top", 3: "on the right", 6: "at the bottom", 9: "on the left"}


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw the parameters of one view.

    Shapes   none.
    Units    fractions of the image side; tone about -1 (low gain) to 1 (high gain).
    Returns  dict for `render` and `describe`.
    Raises   nothing.
    Source   ours.
    """
    u = rng.uniform
    polyps = []
    if finding == "polyp":
        first = int(rng.integers(1, 13))
        polyps = [_grow(rng, first)]
        if rng.random() < 0.12:
            polyps.append(_grow(rng, (first + int(rng.integers(4, 9)) - 1) % 12 + 1))
    shine = int(rng.integers(4, 12))
    low, high = (0.08, 0.08, 0.004, 0.003, 0.0), (0.92, 0.92, 0.014, 0.008, np.pi)
    lights = u(low, high, (shine, 5))
    lamp = np.array([np.cos(a := u(0, 2 * np.pi)), np.sin(a)])
    # Shine sits where the wall faces the lamp: the top of a dome, or as often some fold of a normal wall.
    for polyp, k in zip(polyps, (0, 2), strict=False):
        for j in range(k, k + 2):
            lights[j, :2] = polyp["at"] + polyp["radius"] * (0.4 * lamp + u(-0.22, 0.22, 2))
    bubbles = int(rng.integers(3, 12)) if rng.random() < 0.35 else 0
    foam = u(0.15, 0.85, 2) + rng.normal(0, 0.1, (bubbles, 2))
    biggest = max((polyp["radius"] for polyp in polyps), default=0.0)
    params = {
        "finding": finding,
        "severity": float(np.clip((biggest - 0.055) / 0.1, 0.02, 1)) if polyps else 0.0,
        "seed": int(rng.integers(2**31)),
        "polyps": polyps,
        "lumen": u(0.28, 0.72, 2),
        "lumen_size": u(0.1, 0.24),
        "three": (u(0.0, 0.3), u(0, 2 * np.pi)),
        "two": (u(0.0, 0.25), u(0, 2 * np.pi)),
        "folds": u(4.5, 8.5),
        "phase": u(0, 2 * np.pi),
        "fold_depth": u(0.2, 0.7),
        "fold_side": (u(0.1, 0.9), u(0, 2 * np.pi)),
        "sharp": u(1.5, 5.0),
        "warp": texture(rng, 5, 1),
        "mottle": texture(rng, 7, 3),
        "relief": u(0.03, 0.1),
        "vessels": texture(rng, 11, 1),
        "vascular": u(0.0, 0.3),
        "blood": u(0.5, 0.95),
        "lamp": lamp,
        "swell": (u(0.15, 0.85), u(0.15, 0.85), u(0.09, 0.22), u(0.1, 0.5) * (rng.random() < 0.5)),
        "gain": float(np.exp(0.22 * tone) * u(0.85, 1.15)),
        "white": np.array([1.0, u(0.92, 1.1), u(0.85, 1.15)], dtype=np.float32),
        "lights": lights,
        "bubbles": np.column_stack([foam, np.repeat(u(0.01, 0.026, (bubbles, 1)), 2, 1), np.zeros(bubbles)]),
        "residue": (u(0.6, 1.4), u(0.4, 0.8)) if rng.random() < 0.3 else None,
        "frame": str(rng.choice(["octagon", "circle", "corners"])),
        "frame_size": u(0.46, 0.5),
        "box": bool(rng.random() < 0.2),
        "noise": u(0.006, 0.02),
    }
    # Single precision throughout: one double among the parameters would make every field of it double.
    return {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in params.items()}


def render(params: dict, size: int) -> tuple[NDArray, NDArray]:
    """Light the tube; the mask is the polyps, stalks included.

    Shapes   image (size, size, 3), mask (size, size).
    Units    size in pixels.
    Returns  image in [0, 1] and mask of 0 and 1, float32.
    Raises   nothing.
    Source   ours; a lamp at the lens, light falling with the square of depth; depth is one over the distance
             from the middle of the lumen, as in a straight tube.
    """
    p = params
    x, y = grid(size)
    dx, dy = x - np.float32(p["lumen"][0]), y - np.float32(p["lumen"][1])
    plain = np.sqrt(dx**2 + dy**2) + np.float32(1e-4)
    c, s = dx / plain, dy / plain
    warp, mottle = paint(p["warp"], size), paint(p["mottle"], size)
    # cos and sin of 2 and 3 times the angle by their formulas: no arctangent, no powers.
    cc, ss = c * c, s * s
    lobes = _lobes(cc - ss, 2 * c * s, p["two"]) + _lobes((4 * cc - 3) * c, (3 - 4 * ss) * s, p["three"])
    near = plain * (1 + lobes) * (1 + 0.12 * warp)
    turn = np.log(near + np.float32(0.02)) * np.float32(p["folds"]) + np.float32(p["phase"])
    part, side = p["fold_side"]
    ahead = c * np.float32(np.cos(side)) + s * np.float32(np.sin(side))
    deep = np.float32(p["fold_depth"]) * (1 - part * (0.5 + 0.5 * ahead))
    wave = np.cos(turn)
    crest = np.exp(np.float32(p["sharp"]) * (wave - 1))
    behind = np.exp(np.float32(p["sharp"] * 0.8) * (np.cos(turn + np.float32(0.9)) - 1))
    square = near * near
    light = square / (square + np.float32(p["lumen_size"] ** 2)) * (1 + deep * (0.5 * crest - 0.8 * behind))
    light *= 1 + np.float32(p["relief"]) * mottle
    sx, sy, wide, tall = p["swell"]
    slope = ((x - sx) * np.float32(p["lamp"][0]) + (y - sy) * np.float32(p["lamp"][1])) / np.float32(wide)
    light *= 1 + np.float32(tall) * slope * inside(ellipse(size, sx, sy, wide, 0.7 * wide), 1.0)
    light *= 1 - 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    veins = np.exp(-8 * np.abs(paint(p["vessels"], size)))
    blood = np.float32(p["blood"]) * (1 + 0.1 * mottle + np.float32(p["vascular"]) * veins)

    mask = np.zeros((size, size), dtype=np.float32)
    for polyp in p["polyps"]:
        light, blood, cover = _mount(polyp, light=light, blood=blood, mottle=mottle, lamp=p["lamp"], size=size)
        mask = np.maximum(mask, cover)
    image = np.exp(-blood[..., None] * _BLOOD) * _TISSUE
    if p["residue"]:
        level, thick = p["residue"]
        pool = inside(-(warp + 1.2 * (y - 0.5)), 0.5, -float(level)) * np.float32(thick)
        image += (pool * (1 - mask))[..., None] * (_RESIDUE - image)
    image *= (light * np.float32(1.15 * p["gain"]))[..., None] * p["white"]
    if len(p["bubbles"]):
        inner = p["bubbles"] * np.array([1, 1, 0.7, 0.7, 1])
        film = np.clip(spots(size, p["bubbles"]) - 0.75 * spots(size, inner), 0, 1)
        image += (0.3 * film * (0.3 + light))[..., None]
    image += (spots(size, p["lights"]) * np.clip(2.2 * light, 0, 1))[..., None]
    image += 0.015
    image *= _frame(p, size)[..., None]
    if p["box"]:
        # The green position inset that some colonoscopes burn in.
        image[((x > 0.03) & (x < 0.22) & (y > 0.76) & (y < 0.97))] = (0.1, 0.35, 0.25)
        image[(np.abs(y - 0.86 - 0.06 * np.sin(x * 30)) < 0.012) & (x > 0.05) & (x < 0.2)] = 0.75
    image += grain(p["seed"], size, 3) * np.float32(p["noise"])
    return np.clip(image, 0, 1).astype(np.float32, copy=False), (mask > 0.5).astype(np.float32)


def describe(params: dict) -> Facts:
    """Say what the view shows.

    Shapes   none.
    Units    none.
    Returns  Facts; the place is a clock hour or a side of the image.
    Raises   nothing.
    Source   ours.
    """
    polyps = params["polyps"]
    if not polyps:
        return Facts(
            ("normal mucosa", "normal colon", "healthy colonic mucosa", "clear colon"),
            positive=False,
            detail=("regular folds", "a smooth surface", "an open lumen"),
            absent=("polyps", "polyp", "polypoid lesion"),
        )
    words = ("small", "medium-sized", "large")
    sizes = {words[int(np.searchsorted((0.085, 0.12), q["radius"]))] for q in polyps}
    stalks = {q["stalk"] for q in polyps}
    hour = polyps[0]["hour"]
    corner = f"in the {'upper' if hour in (1, 2, 10, 11) else 'lower'} {'right' if hour < 6 else 'left'}"
    side = f"{_SIDES.get(hour, corner)} of the image"
    if stalks == {True}:
        kind = "pedunculated polyp"
        detail: tuple[str, ...] = ("a stalk", "a narrow pedicle")
    elif stalks == {False}:
        kind, detail = "sessile polyp", ("a broad base", "a sessile base")
    else:
        kind, detail = "polypoid lesion", ()
    return Facts(
        ("polyp", "colonic polyp", kind),
        count=len(polyps),
        size=sizes.pop() if len(sizes) == 1 else "",
        place=(side, f"at {hour} o'clock") if len(polyps) == 1 else (),
        detail=detail,
    )


def _lobes(cosine: Field, sine: Field, lobe: tuple[float, float]) -> Field:
    # amount * cos(k * theta - phase), from the cosine and sine of k * theta.
    amount, phase = lobe
    return np.float32(amount * np.cos(phase)) * cosine + np.float32(amount * np.sin(phase)) * sine


def _frame(p: dict, size: int) -> Field:
    x, y = grid(size)
    dx, dy, half = np.abs(x - 0.5), np.abs(y - 0.5), p["frame_size"]
    if p["frame"] == "circle":
        return inside(np.sqrt(dx**2 + dy**2), 0.012, half * 1.08) * inside(np.maximum(dx, dy), 0.012, half)
    cut = 1.42 if p["frame"] == "octagon" else 1.75
    return inside(np.maximum(dx, dy), 0.012, half) * inside(dx + dy, 0.02, half * cut)


def _grow(rng: np.random.Generator, hour: int) -> dict:
    """Draw one polyp on the clock face of the image.

    Shapes   none.
    Units    hour from 1 to 12; lengths in fractions of the side, angles in radians.
    Returns  dict for `_mount`.
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


def _mount(
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
