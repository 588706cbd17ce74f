"""Frontal chest radiograph: who is lying there, and what is said of it; the physics is in `_thorax`."""

from __future__ import annotations

from typing import Any

import numpy as np

from medadv.data.phantoms._canvas import texture
from medadv.data.phantoms._thorax import APEX, render
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
__all__ = ["NAME", "NOUNS", "PROMPTS", "describe", "draw", "render"]


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
