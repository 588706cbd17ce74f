"""Dermoscopy: light comes back from skin after melanin and blood have taken their share of each colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medadv.data.phantoms._canvas import Field, ellipse, grain, grid, inside, paint, texture
from medadv.data.phantoms._forms import outline, stamp
from medadv.data.phantoms._lens import lens, through
from medadv.data.phantoms.captions import Facts, whereabouts

NAME = "dermoscopy"
NOUNS = (
    "dermoscopy image",
    "dermatoscopic image",
    "skin lesion photograph",
    "close-up of the skin",
    "dermoscopic view",
)
PROMPTS = {
    "naevus": "a dermoscopy image of a benign naevus",
    "melanoma": "a dermoscopy image of a melanoma",
    "keratosis": "a dermoscopy image of a seborrhoeic keratosis",
}
# Absorption in red, green, blue. Melanin falls as wavelength^-3.3; blood lets red through (Jacques 2013).
_MELANIN = np.array([0.40, 0.66, 1.05], dtype=np.float32)
_BLOOD = np.array([0.10, 0.85, 0.62], dtype=np.float32)
_DERMIS = np.array([0.98, 0.91, 0.86], dtype=np.float32)
_VEIL = np.array([0.40, 0.47, 0.58], dtype=np.float32)
_SCAR = np.array([0.83, 0.78, 0.78], dtype=np.float32)
_CYST = np.array([0.93, 0.88, 0.74], dtype=np.float32)
_WAX = np.array([0.80, 0.72, 0.56], dtype=np.float32)


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw a scene: skin, the border and pigment of the lesion, its structures, and what lies on the lens.

    Shapes   modes (12, 2); blobs (n, 4): x, y, radius, melanin; dots and cysts (n, 3).
    Units    fractions of the side, radians, melanin and blood in optical density; tone is skin pigmentation.
    Returns  parameters for `render` and `describe`.
    Raises   nothing.
    Source   signs of the ABCD rule (Nachbar et al. 1994) and the seven points (Argenziano et al. 1998).
    """
    severity = float(rng.uniform(0.25, 1)) if finding != "naevus" else 0.0
    place = {
        "cx": float(rng.uniform(0.28, 0.72)),
        "cy": float(rng.uniform(0.28, 0.72)),
        "radius": float(rng.uniform(0.17, 0.36)),
        "squash": float(rng.uniform(0.72, 1.0)),
        "angle": float(rng.uniform(0, np.pi)),
    }
    skin = 0.14 * float(np.exp(1.15 * (tone + 1) + rng.normal(0, 0.15)))
    scene = {
        "finding": finding,
        "severity": severity,
        "seed": int(rng.integers(2**31)),
        "skin": skin,
        "blood": float(rng.uniform(0.1, 0.32)),
        # On dark skin a lesion is darker still, but the contrast is lower.
        "pigment": float(rng.uniform(0.45, 1.15)) * (1 + 0.25 * skin),
        "skin_mottle": texture(rng, 6, 2),
        "mottle": texture(rng, 7, 2),
        "warp": texture(rng, 5, 1) + texture(rng, 5, 1),
        "net_turn": float(rng.uniform(0, np.pi)),
        "net_waves": float(rng.uniform(12, 18)),
        "blobs": np.zeros((0, 4)),
        "dots": np.zeros((0, 3)),
        "cysts": np.zeros((0, 3)),
        "dot_depth": 0.0,
        "cyst": 0.0,
        "signs_at": np.zeros((2, 2)),
        "flush": texture(rng, 5, 1),
        "veil": 0.0,
        "scar": 0.0,
        "wax": 0.0,
        "streaks": None,
    }
    order = np.arange(1, 13)[:, None]
    wave = rng.normal(0, 1, (12, 2)) / order
    wave[0] = 0  # the first mode would only move the lesion from where the captions say it is
    add = {"naevus": _naevus, "melanoma": _melanoma, "keratosis": _keratosis}[finding]
    return scene | add(rng, severity, place, wave) | {"place": place, "lens": lens(rng)}


def _net(params: dict, size: int) -> Field:
    """Honeycomb of rete ridges: three waves at 60 degrees are low along the lines and high in the holes."""
    x, y = grid(size)
    total = np.zeros((size, size), dtype=np.float32)
    bend = [params["net_warp"] * paint([lattice], size) for lattice in params["warp"]]
    for k in range(3):
        turn = params["net_turn"] + k * np.pi / 3
        c, s = np.cos(turn), np.sin(turn)
        phase = 2 * np.pi * params["net_waves"] * (np.float32(c) * x + np.float32(s) * y)
        total += np.cos(phase + np.float32(c) * bend[0] + np.float32(s) * bend[1])
    return np.float32(0.5) - np.float32(0.5) * np.tanh(total + np.float32(0.3))


def _streaks(params: dict, size: int) -> Field:
    # Finger-like runs of pigment beyond the border, in one sector only.
    x, y = grid(size)
    turn, width, number, reach = params["streaks"]
    theta = np.arctan2(y - np.float32(params["place"]["cy"]), x - np.float32(params["place"]["cx"]))
    off = np.abs((theta - np.float32(turn) + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi))
    return 1 + np.float32(reach) * inside(off, 0.3, width) * np.maximum(np.cos(number * theta), 0)


def _dots(dots: Field, size: int) -> Field:
    radius = dots[:, 2, None, None]

    def shape(dx: Field, dy: Field) -> Field:
        return inside(np.sqrt(dx * dx + dy * dy) / radius, 1.0 / size / radius)

    return stamp(size, dots[:, 0], dots[:, 1], 0.04, shape)


def render(params: dict, size: int) -> tuple[Field, Field]:
    """Paint the scene: melanin and blood, their absorption per channel, scatter from above, then the lens.

    Shapes   image (size, size, 3), mask (size, size).
    Units    image in [0, 1]; the mask is 1 inside the border of the lesion.
    Returns  (image, mask), float32.
    Raises   nothing.
    Source   Beer-Lambert; spectra after Jacques 2013 (Optical properties of biological tissues).
    """
    x, y = grid(size)
    place = params["place"]
    far = outline(x, y, params["modes"], **place)
    if params["streaks"] is not None:
        far = far / _streaks(params, size)
    mask = (far < 1).astype(np.float32)
    body = inside(far, max(params["edge"], 0.7 / size / place["radius"]))
    mottle = paint(params["mottle"], size)
    at, step = params["ring"]
    load = 1 + np.float32(params["rough"]) * mottle + np.float32(step) * inside(far, 0.3, at)
    if params["net"]:
        net = _net(params, size) - np.float32(0.4)
        if params["patchy"]:
            net *= inside(paint(params["warp"][1:], size), 0.6, 0.3)
        load += np.float32(2 * params["net"]) * net
    for bx, by, radius, more in params["blobs"]:
        load += np.float32(more) * inside(np.hypot(x - np.float32(bx), y - np.float32(by)), 0.6 * radius, radius)
    dark, bright = params["dots"], params["cysts"]
    if len(dark):
        load += np.float32(params["dot_depth"]) * _dots(dark, size)
    skin = params["skin"] * (1 + np.float32(0.06) * paint(params["skin_mottle"], size))
    melanin = skin + body * params["pigment"] * np.maximum(load, np.float32(0.12))
    blood = params["blood"] * (1 + np.float32(0.1) * paint(params["flush"], size) + np.float32(0.3) * body)
    layers = np.stack([melanin, blood], axis=-1).astype(np.float32).reshape(-1, 2)
    image = (_DERMIS * np.exp(-(layers @ np.stack([_MELANIN, _BLOOD])))).reshape(size, size, 3)
    lit = np.float32(np.exp(-0.35 * params["skin"]))
    above = ((params["veil"], _VEIL), (params["scar"], _SCAR))
    for (strength, colour), (dx, dy) in zip(above, params["signs_at"], strict=True):
        if strength:
            # Light scattered above the pigment, or by a scar in its place, never meets the melanin.
            half = 0.5 * place["radius"]
            spot = ellipse(size, place["cx"] + dx, place["cy"] + dy, half, half) + np.float32(0.2) * mottle
            cover = np.float32(strength) * body * inside(spot, 0.6)
            image += cover[..., None] * (colour * lit - image)
    if params["wax"]:
        gloss = body * np.float32(params["wax"]) * np.clip(1 + np.float32(0.5) * mottle, 0, 2)
        image += gloss[..., None] * (_WAX * lit - image)
    if len(bright):
        image += np.float32(params["cyst"]) * _dots(bright, size)[..., None] * (_CYST - image)
    image = through(image, params["lens"], size) + np.float32(params["lens"]["noise"]) * grain(params["seed"], size, 3)
    return np.clip(image, 0, 1).astype(np.float32), mask


def describe(params: dict) -> Facts:
    """State what is true of the scene.

    Shapes   none.
    Units    none.
    Returns  Facts; the words for size, place and signs come from the parameters drawn.
    Raises   nothing.
    Source   ours.
    """
    place = params["place"]
    size = "small" if place["radius"] < 0.225 else "medium-sized" if place["radius"] < 0.295 else "large"
    where = whereabouts(place["cx"], place["cy"], "picture")
    severity, _many = params["severity"], "many" if len(params["cysts"]) > 6 else "some"
    grade = "marked " if severity > 0.7 else "slight " if severity < 0.45 else ""
    known = {
        "naevus": (
            ("naevus", "benign naevus", "melanocytic naevus", "benign mole"),
            ("a regular border", "a symmetric outline", "one or two shades of brown"),
            (
                ("a regular pigment network", params["net"] > 0.2),
                ("regular brown globules", len(params["dots"])),
            ),
        ),
        "melanoma": (
            ("melanoma", "malignant melanoma", "malignant skin tumour"),
            ("an irregular border", f"{grade}colour variegation"),
            (
                ("a blue-grey veil", params["veil"]),
                ("whitish regression", params["scar"]),
                ("an atypical pigment network", params["net"] > 0.25),
                ("streaks at the border", params["streaks"]),
            ),
        ),
        "keratosis": (
            ("seborrhoeic keratosis", "benign keratosis", "keratosis"),
            ("a sharply demarcated border", "a waxy stuck-on surface"),
            (
                (
                    f"{'many' if len(params['cysts']) > 6 else 'some'} milia-like cysts",
                    len(params["cysts"]) > 2,
                ),
                ("comedo-like openings", len(params["dots"]) > 2),
            ),
        ),
    }
    names, always, perhaps = known[params["finding"]]
    signs = always + tuple(sign for sign, seen in perhaps if seen)
    others = tuple(value[0][0] for key, value in known.items() if key != params["finding"])
    return Facts(finding=names, size=size, place=where, detail=signs, absent=others)


def _naevus(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
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


def _melanoma(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
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


def _keratosis(rng: np.random.Generator, severity: float, place: dict, wave: NDArray) -> dict:
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
