"""Frontal chest radiograph: anatomy as a map of attenuation, and a film behind it (Beer-Lambert).

Body frame: u runs to the image's right (the patient's left) from the midline, v runs down, both in fractions
of the side before the patient is shifted, tilted and zoomed. Air removes path, bone and fluid add it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medadv.data.phantoms._canvas import Field, grain, grid, paint, stroke, texture
from medadv.data.phantoms.captions import Facts

NAME = "chest"
NOUNS = ("chest radiograph", "chest X-ray", "frontal chest radiograph", "frontal chest X-ray", "chest film")
PROMPTS = {
    "normal": "a normal chest radiograph",
    "opacity": "a chest radiograph with a lung opacity",
    "effusion": "a chest radiograph with a pleural effusion",
    "cardiomegaly": "a chest radiograph with cardiomegaly",
    "nodule": "a chest radiograph with a lung nodule",
}
APEX, MIDDLE, HALF = 0.10, 0.52, 0.42
"""Top, centre and half height of the lungs in the body frame."""
WIDEST = 1.018
"""Half width of the egg-shaped lung in units of rx, so that the cardiothoracic ratio told is drawn."""


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw a patient, a position, an exposure and one finding.

    Shapes   none.
    Units    fractions of the side in the body frame; attenuation in nepers.
    Returns  dict of parameters, all that `render` and `describe` need.
    Raises   KeyError for an unknown finding.
    Source   ours.
    """
    severity = 0.0 if finding == "normal" else float(rng.uniform(0.2, 1.0))
    wide = rng.uniform(0.90, 1.07)
    p: dict[str, Any] = {
        "finding": finding, "severity": severity, "tone": tone, "seed": int(rng.integers(2**31)),
        "angle": rng.normal(0, 0.055), "zoom": rng.uniform(0.88, 1.15), "dx": rng.normal(0, 0.03),
        "dy": rng.normal(0, 0.03), "body": rng.uniform(0.46, 0.60), "thick": rng.uniform(2.7, 3.3),
        "uc": 0.202 * wide, "rx": 0.176 * wide, "base": rng.uniform(0.71, 0.84),
        "dome": rng.uniform(0.07, 0.14),
        "drop": rng.uniform(-0.015, 0.045), "ctr": rng.uniform(0.37, 0.475), "tilt": rng.uniform(0.35, 0.65),
        "lie": rng.uniform(0.14, 0.18), "knob": rng.uniform(0.3, 1.0), "neck": rng.uniform(0.045, 0.06),
        "ribs": (rng.uniform(0.068, 0.08), rng.uniform(0, 1), rng.uniform(0.15, 0.35), rng.uniform(0, 1)),
        "bone": rng.uniform(0.7, 1.25), "collar": rng.uniform(0.17, 0.22),
        "breast": max(rng.uniform(-0.3, 0.3), 0),
        "bubble": (rng.uniform(0.12, 0.2), rng.uniform(0.02, 0.05), max(rng.uniform(-0.5, 0.9), 0)),
        "marks": rng.uniform(0.25, 0.55), "vessels": texture(rng, 14, 1), "cloud": texture(rng, 5, 2),
        "centre": rng.normal(1.9, 0.1), "latitude": rng.uniform(0.5, 0.75),
        "scatter": rng.uniform(0.03, 0.10), "noise": rng.uniform(0.008, 0.022),
        "wires": [], "spots": [], "side": 1, "level": 0.0,
    }  # fmt: skip
    for _ in range(int(rng.choice(3, p=(0.6, 0.25, 0.15)))):
        start, end = rng.uniform((0.1, 0.0), (0.9, 0.1)), rng.uniform((0.15, 0.4), (0.85, 0.95))
        bend = (start + end) / 2 + rng.uniform(-0.12, 0.12, 2)
        path = np.stack([start, (start + 2 * bend) / 3, (end + 2 * bend) / 3, end])
        p["wires"].append((path, rng.uniform(0.006, 0.01)))
    p["side"] = side = 1 if rng.random() < 0.5 else -1
    if finding == "cardiomegaly":
        p["ctr"] = 0.52 + 0.12 * severity
    elif finding == "effusion":
        p["level"] = 0.055 + 0.235 * severity
    elif finding == "opacity":
        u, v = _in_lung(rng, p, side)
        r, flat = rng.uniform(0.065, 0.12), rng.uniform(0.8, 1.25)
        p["spots"] = [(u, v, r * flat, r / flat, 0.5 + 0.45 * severity)]
    elif finding == "nodule":
        r = rng.uniform(0.026, 0.046)
        for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))):
            for _attempt in range(20):
                u, v = _in_lung(rng, p, side if rng.random() < 0.6 else -side)
                if all(np.hypot(u - s[0], v - s[1]) > 3.5 * r for s in p["spots"]):
                    p["spots"].append((u, v, r, r, 0.85 + 0.6 * severity))
                    break
    elif finding not in PROMPTS:
        raise KeyError(finding)
    return p


def _in_lung(rng: np.random.Generator, p: dict, side: int) -> tuple[float, float]:
    # Where a spot is seen: inside one zone, clear of the mediastinum and of the heart on the left.
    zone = (0.18, 0.30) if (z := rng.integers(3)) == 0 else (0.40, 0.60) if z == 1 else (0.70, 0.88)
    v = APEX + rng.uniform(*zone) * (p["base"] - p["dome"] - APEX)
    heart = 0.09 if side > 0 and z == 2 else 0.0
    inner, outer = 0.13 + heart, (0.245, 0.28, 0.30)[z]
    return side * float(rng.uniform(inner, outer)), float(v)


def _zone(p: dict, u: float, v: float) -> tuple[str, str]:
    # The image's left is the patient's right.
    third = (v - APEX) / (p["base"] - p["dome"] - APEX)
    return "right" if u < 0 else "left", "upper" if third < 0.35 else "middle" if third < 0.65 else "lower"


def _bump(squared: Field) -> Field:
    # The chord of a sphere or cylinder: steep at the rim, flat in the middle.
    return np.sqrt(np.maximum(1 - squared, 0))


def _heart(p: dict, u: Field, v: Field) -> Field:
    width = p["ctr"] * 2 * (p["uc"] + WIDEST * p["rx"])
    c, s = np.cos(p["tilt"]), np.sin(p["tilt"])
    long = width / 2 / np.sqrt(c * c + 0.52 * s * s)
    du, dv = u - p["lie"] * width, v - (p["base"] - 0.55 * p["dome"] - 0.62 * long)
    return ((c * du + s * dv) / long) ** 2 + ((c * dv - s * du) / (0.72 * long)) ** 2


def _bones(p: dict, u: Field, a: Field, v: Field, q: Field, d2: Field) -> Field:
    gap, phase, slope, front = p["ribs"]
    back = (v - 1.5 * (a - 0.1) ** 2 - slope * a) / gap + phase
    back -= np.rint(back)
    fore = (v + (0.45 + slope) * a) / (1.15 * gap) + front
    fore -= np.rint(fore)
    cage = np.clip((1.25 - d2) * 4, 0, 1) * np.clip((p["base"] + 0.03 - v) * 8, 0.15, 1)
    # A rib is thickest where the beam runs along it, at the side of the chest.
    ribs = np.maximum(1 - (back / 0.2) ** 2, 0) * (0.28 + 0.35 * np.clip(q, 0, 1) ** 2)
    ribs += np.maximum(1 - (fore / 0.17) ** 2, 0) * np.clip((a - 0.1) * 2, 0, 0.14)
    collar = np.maximum(1 - ((v - p["collar"] + 0.22 * a - 0.5 * (a - 0.15) ** 2) / 0.016) ** 2, 0)
    collar = collar * np.clip((a - 0.03) * 60, 0, 1) * np.clip((0.4 - a) * 20, 0, 1)
    spine = np.maximum(1 - (u / 0.04) ** 2, 0) * (0.5 + 0.12 * np.cos(v * np.float32(2 * np.pi / 0.052)))
    # Border of the shoulder blades, beside the lungs.
    blade = np.maximum(1 - ((a - 0.40 - 0.25 * (v - 0.3) ** 2 + 0.3 * (v - 0.3)) / 0.018) ** 2, 0)
    blade *= np.clip((0.48 - v) * 10, 0, 1) * np.clip((v - 0.16) * 20, 0, 1)
    return p["bone"] * (ribs * cage + 0.5 * collar + spine + 0.2 * blade)


def render(params: dict, size: int) -> tuple[Field, Field]:
    """Expose the film.

    Shapes   image (size, size, 3), mask (size, size).
    Units    image in [0, 1], bone white; mask 0 or 1 (opacity, fluid, heart if enlarged, nodules).
    Returns  (image, mask), the same scene at every size.
    Raises   nothing.
    Source   Beer-Lambert law with a constant share of scatter; Hurter-Driffield curve of the film.
    """
    p = params
    x, y = grid(size)
    x, y = x - np.float32(0.5 + p["dx"]), y - np.float32(0.5 + p["dy"])
    c, s = np.float32(np.cos(p["angle"]) / p["zoom"]), np.float32(np.sin(p["angle"]) / p["zoom"])
    u, v = c * x + s * y, c * y - s * x + np.float32(0.5)
    a = np.abs(u)
    q = (a - p["uc"]) / (p["rx"] * (0.72 + 0.5 * v))
    h2 = ((v - MIDDLE) / HALF) ** 2
    d2 = q * q + 0.5 * h2 + 0.5 * h2 * h2
    floor = np.where(u < 0, np.float32(p["base"]), np.float32(p["base"] + p["drop"]))
    floor = floor - p["dome"] * (1 - ((a - 0.17) / 0.2) ** 2)
    lung = _bump(d2) * np.clip((floor - v) / 0.014 + 0.5, 0, 1)
    heart2 = _heart(p, u, v)
    knob = p["knob"] * np.exp(((u - 0.062) ** 2 + (v - 0.33) ** 2) * np.float32(-1 / 0.0011))
    hila = 0.4 * np.exp((a - 0.085) ** 2 * np.float32(-1 / 0.0010) + (v - 0.47) ** 2 * np.float32(-1 / 0.004))
    middle = _bump((u / (p["neck"] * (0.75 + np.maximum(v - 0.2, 0)))) ** 2)
    solid = np.maximum(_bump(heart2), middle) + knob + hila
    air = np.maximum(lung - 1.05 * solid, 0)
    mask, cloud = np.zeros((size, size), dtype=np.float32), paint(p["cloud"], size)
    extra: Field | float = 0.0
    if p["finding"] == "cardiomegaly":
        mask = (heart2 < 1) & (v < floor + 0.02)
    elif p["finding"] == "effusion":
        # Fluid stands highest at the wall: the meniscus.
        up = np.clip((a - 0.06) / (p["uc"] + p["rx"] - 0.06), 0, 1)
        surface = p["base"] - p["level"] * (0.35 + 0.65 * up * up)
        fluid = np.clip((v - surface) / 0.03 + 0.5, 0, 1) * (u * p["side"] > 0)
        mask = (fluid > 0.5) & (air > 0.05)
        air = air * (1 - 0.93 * fluid)
    for su, sv, ru, rv, fill in p["spots"]:
        e2 = ((u - su) / ru) ** 2 + ((v - sv) / rv) ** 2
        if p["finding"] == "opacity":
            blob = np.clip(np.exp(-0.7 * e2) * (1 + 0.3 * np.clip(cloud, -1, 1)), 0, 1)
            mask = (blob > 0.5) & (air > 0.05)
            air = air * (1 - fill * blob)
        else:
            extra = extra + fill * _bump(e2)
            mask = np.maximum(mask, e2 < 1)
    body = _bump((a / p["body"]) ** 2) * np.clip((v - 0.55 * a * a + 0.05) * 30, 0, 1)
    far = np.exp((a - 0.09) ** 2 * np.float32(-1 / 0.02) + (v - 0.5) ** 2 * np.float32(-1 / 0.05))
    # Ridges of smooth noise; cut by a second noise, or they would close to rings.
    vessels = np.exp(-((4 * paint(p["vessels"], size)) ** 2)) * far * np.clip(0.4 + cloud, 0, 1)
    trachea = np.exp(-((u / 0.017) ** 2)) * np.clip((0.37 - v) * 12, 0, 1)
    depth = p["thick"] * body - 2.0 * air * (1 - p["marks"] * vessels) - 0.3 * trachea * body + extra
    depth += _bones(p, u, a, v, q, d2) * np.minimum(3 * body, 1)
    if p["breast"]:
        depth += p["breast"] * _bump(((a - 0.2) / 0.16) ** 2 + ((v - 0.6) / 0.17) ** 2)
    bu, br, gas = p["bubble"]
    if gas:
        depth -= gas * _bump(((u - bu) / (1.5 * br)) ** 2 + ((v - p["base"] - 0.05) / br) ** 2)
    for points, width in p["wires"]:
        depth += 0.5 * stroke(size, points, width)
    light = np.exp(-np.maximum(depth, 0)) + np.float32(p["scatter"])
    # Fewer quanta behind bone: noise grows with the square root of what was absorbed.
    quanta = grain(p["seed"], size) * np.float32(p["noise"] * np.sqrt(size / 64)) / np.sqrt(light)
    film = (-np.log(light) + quanta - (p["centre"] + 0.3 * p["tone"])) / p["latitude"]
    image = np.repeat((1 / (1 + np.exp(-film)))[..., None], 3, axis=2)
    return image.astype(np.float32, copy=False), np.asarray(mask, dtype=np.float32)


def describe(params: dict) -> Facts:
    """Tell what is on the film.

    Shapes   none.
    Units    none.
    Returns  captions.Facts; sides are the patient's.
    Raises   nothing.
    Source   thresholds on the parameters that were drawn; cardiothoracic ratio above 0.5 is cardiomegaly.
    """
    detail: tuple[str, ...]
    place: tuple[str, ...]
    p, finding, level = params, params["finding"], params["severity"]
    severity = "mild" if level < 0.45 else "moderate" if level < 0.75 else "severe"
    absent = tuple(
        word
        for key, word in (
            ("opacity", "lung opacity"), ("effusion", "pleural effusion"),
            ("cardiomegaly", "cardiomegaly"), ("nodule", "lung nodule"),
        )
        if key != finding
    )  # fmt: skip
    if finding == "cardiomegaly":
        ratio = f"a cardiothoracic ratio of {p['ctr']:.2f}"
        detail = (ratio, "an enlarged heart", "a wide cardiac silhouette", "a cardiothoracic ratio above 0.5")
        return Facts(
            ("cardiomegaly", "cardiac enlargement"), severity=severity, detail=detail, absent=absent, mass_noun=True
        )
    if finding == "effusion":
        side = "right" if p["side"] < 0 else "left"
        size = "small" if p["level"] < 0.15 else "medium-sized" if p["level"] < 0.22 else "large"
        place = (f"on the {side}", f"at the {side} lung base", f"in the {side} pleural space")
        detail = (f"blunting of the {side} costophrenic angle", "a meniscus", "fluid at the lung base")
        return Facts(
            ("pleural effusion", "effusion", "pleural fluid collection"),
            size=size,
            place=place,
            detail=detail,
            absent=absent,
        )
    if finding == "normal":
        names = ("normal chest", "normal heart and lung appearance", "clear pair of lungs")
        detail = ("clear lungs", "a normal heart size", "sharp costophrenic angles")
        return Facts(names, positive=False, detail=detail, absent=absent)
    zones = [_zone(p, spot[0], spot[1]) for spot in p["spots"]]
    (side, zone), sides = zones[0], {s for s, _ in zones}
    if len(set(zones)) == 1:
        place = (
            f"in the {side} {zone} zone",
            f"in the {zone} zone of the {side} lung",
            f"in the {side} {zone} lung",
        )
    else:
        place = (f"in the {side} lung", f"on the {side}") if len(sides) == 1 else ("in both lungs", "on both sides")
    radius = float(np.sqrt(p["spots"][0][2] * p["spots"][0][3]))
    if finding == "opacity":
        size = "small" if radius < 0.08 else "medium-sized" if radius < 0.10 else "large"
        names = ("lung opacity", "airspace opacity", "opacity")
        detail = ("a soft border", "an ill-defined margin")
        return Facts(names, size=size, place=place, severity=severity, detail=detail, absent=absent)
    size = "small" if radius < 0.033 else "medium-sized" if radius < 0.040 else "large"
    names = ("lung nodule", "pulmonary nodule", "nodule")
    detail = ("a round outline", "sharp margins")
    return Facts(names, count=len(zones), size=size, place=place, detail=detail, absent=absent)
