"""Breast ultrasound: layers of tissue, a sound beam that is weakened on its way, speckle, log compression.

Everything is reckoned in decibels, in which the physics adds up: reflectivity of the tissue, attenuation
summed along the beam (shadows and enhancement come out of this sum), Rayleigh speckle and gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medadv.data.phantoms._canvas import Field, grain, grid, inside, smooth
from medadv.data.phantoms.captions import Facts

NAME = "ultrasound"
NOUNS = ("breast ultrasound image", "breast sonogram", "ultrasound scan of the breast", "breast ultrasound")
PROMPTS = {
    "normal": "a normal breast ultrasound image",
    "benign": "a breast ultrasound image with a benign mass",
    "malignant": "a breast ultrasound image with a malignant mass",
}


def draw(rng: np.random.Generator, finding: str, tone: float) -> dict:
    """Draw the layers of a breast, the settings of a scanner and at most one mass.

    Shapes   none.
    Units    fractions of the side; decibels.
    Returns  dict of parameters, all that `render` and `describe` need.
    Raises   KeyError for an unknown finding.
    Source   ours.
    """
    severity = 0.0 if finding == "normal" else float(rng.uniform(0.2, 1.0))
    skin, fat = rng.uniform(0.025, 0.05), rng.uniform(0.10, 0.28)
    gland = rng.uniform(0.25, 0.45)
    muscle = skin + fat + gland + rng.uniform(0.03, 0.06)
    p: dict[str, Any] = {
        "finding": finding, "severity": severity, "tone": tone, "seed": int(rng.integers(2**31)),
        "depths": (skin, skin + fat, skin + fat + gland, muscle, muscle + rng.uniform(0.1, 0.25)),
        # Skin, fat, gland, fat behind it, muscle, chest wall:
        "echo": np.array([-12, -30, -19, -29, -26, -36]) + rng.normal(0, 2.0, 6),
        "wave": rng.standard_normal((5, 5)) * rng.uniform(0.02, 0.045), "tilt": rng.normal(0, 0.08),
        "septa": rng.standard_normal((28, 5)), "lobes": rng.standard_normal((10, 6)),
        "septa_db": rng.uniform(8, 15), "lobes_db": rng.uniform(2, 4.5),
        "fade": rng.uniform(4, 22), "gain": rng.normal(0, 2.0), "range": rng.uniform(48, 60),
        "columns": rng.standard_normal((3, 9)) * rng.uniform(0.5, 2.0), "speckle": rng.uniform(0.6, 1.0),
        "contact": (rng.uniform(0, 1), rng.uniform(0.03, 0.08), max(rng.uniform(-7, 13), 0)),
        "mass": None, "noise": rng.uniform(0.004, 0.02),
    }  # fmt: skip
    if finding == "benign":
        r, flat = rng.uniform(0.075, 0.15), rng.uniform(1.35, 2.1)
        wobble = rng.uniform(0.01, 0.05, 2)
        p["mass"] = {
            "rx": r * flat**0.5, "ry": r / flat**0.5, "angle": rng.normal(0, 0.12), "waves": (2, 3),
            "wobble": wobble, "phase": rng.uniform(0, 6.28, 2),
            "deep": -(9 + 10 * severity) + rng.normal(0, 1), "rim": 1.5 + 4.5 * severity,
            "edge": 0.12, "halo": 0.0, "loss": -rng.uniform(0.4, 1.0) * (35 + 45 * severity),
        }  # fmt: skip
    elif finding == "malignant":
        r, flat = rng.uniform(0.075, 0.15), rng.uniform(1.15, 1.6)
        rough = 0.06 + 0.09 * severity
        p["mass"] = {
            "rx": r / flat**0.5, "ry": r * flat**0.5, "angle": rng.normal(0, 0.2), "waves": (3, 5, 8, 11),
            "wobble": rough * rng.uniform(0.6, 1.2, 4), "phase": rng.uniform(0, 6.28, 4),
            "deep": -(8 + 8 * severity) + rng.normal(0, 1.5), "rim": 0.0, "edge": 0.28,
            "halo": 2 + 4 * severity, "loss": rng.uniform(0.25, 1.0) * (35 + 55 * severity),
        }  # fmt: skip
    elif finding != "normal":
        raise KeyError(finding)
    if p["mass"]:
        m = p["mass"]
        top = skin + fat * 0.75 + m["ry"]
        p["mass"] |= {"x": rng.uniform(0.15, 0.85), "y": rng.uniform(top, max(muscle - m["ry"], top + 0.04))}
    return p


def _tissue(p: dict, size: int) -> Field:
    # Reflectivity in dB of layers that bend.
    x, y = grid(size)
    depth = y + smooth(p["wave"], size) * np.clip(y * 8, 0, 1) + np.float32(p["tilt"]) * (x - 0.5)
    echo = np.float32(p["echo"][0]) + np.zeros_like(depth)
    for at, above, below in zip(p["depths"], p["echo"][:-1], p["echo"][1:], strict=True):
        echo += np.float32(below - above) * np.clip((depth - at) * 40 + 0.5, 0, 1)
    # Interfaces and ligaments mirror the beam: thin bright lines, mostly across it.
    # They break off where the tissue turns: else every line would close to a ring.
    lobes = smooth(p["lobes"], size)
    septa = np.exp(-((3.5 * smooth(p["septa"], size)) ** 2)) * np.clip((depth - p["depths"][0]) * 20, 0, 1)
    septa *= np.clip(0.45 + 0.8 * lobes, 0, 1)
    fascia = sum(np.exp(-(((depth - p["depths"][k]) / 0.010) ** 2)) for k in (1, 3))
    wall = np.exp(-(((depth - p["depths"][4]) / 0.014) ** 2))
    echo += p["septa_db"] * septa + 7 * fascia + 12 * wall
    return echo + p["lobes_db"] * lobes


def _rim(m: dict, size: int) -> Field:
    # Distance from the centre of the mass, 1 on its irregular outline.
    x, y = grid(size)
    c, s = np.float32(np.cos(m["angle"])), np.float32(np.sin(m["angle"]))
    dx, dy = x - np.float32(m["x"]), y - np.float32(m["y"])
    dx, dy = (c * dx + s * dy) / np.float32(m["rx"]), (c * dy - s * dx) / np.float32(m["ry"])
    theta = np.arctan2(dy, dx)
    outline = np.ones_like(theta)
    for wave, size_of, phase in zip(m["waves"], m["wobble"], m["phase"], strict=True):
        outline = outline + np.float32(size_of) * np.cos(np.float32(wave) * theta + np.float32(phase))
    return (np.sqrt(dx * dx + dy * dy) / outline).astype(np.float32, copy=False)


def render(params: dict, size: int) -> tuple[Field, Field]:
    """Scan the breast.

    Shapes   image (size, size, 3), mask (size, size).
    Units    image in [0, 1], log-compressed; mask 0 or 1 (the mass).
    Returns  (image, mask), the same scene at every size.
    Raises   nothing.
    Source   Rayleigh speckle (Burckhardt 1978); attenuation as a line integral along the beam.
    """
    p, m = params, params["mass"]
    x, y = grid(size)
    echo = _tissue(p, size)
    mask = np.zeros((size, size), dtype=np.float32)
    loss: Field = np.float32(p["fade"]) * y
    if m:
        d = _rim(m, size)
        body = inside(d, m["edge"])
        mask = (d < 1).astype(np.float32)
        quiet = np.float32(p["echo"][2] + m["deep"])
        echo = echo + body * (0.9 * (quiet - echo))
        echo += m["rim"] * np.exp(-(((d - 1.05) / 0.11) ** 2)) + m["halo"] * np.exp(-(((d - 1.3) / 0.22) ** 2))
        # dB a unit of path inside the mass: a shadow or an enhancement grows within it and stays below it.
        loss = loss + np.cumsum(body, axis=0) * np.float32(m["loss"] / size)
    at, wide, poor = p["contact"]
    if poor:
        loss = loss + poor * np.exp(-(((x - at) / wide) ** 2))
    # Two stretched Gaussian fields are the beam's complex echo; its magnitude is Rayleigh speckle.
    field = grain(p["seed"], 96, 2)
    re, im = smooth(field[:, :64, 0], size), smooth(field[:, :64, 1], size)
    speckle = p["speckle"] * 4.34 * np.log(re * re + im * im + np.float32(0.06))
    level = echo + speckle - loss + smooth(p["columns"], size) + p["gain"] + 3.5 * p["tone"] + 0.3 * p["fade"]
    image = (level + 43 + 0.1 * p["range"]) / p["range"] + p["noise"] * grain(p["seed"] + 1, size)
    image = np.repeat(np.clip(image, 0, 1)[..., None], 3, axis=2)
    return image.astype(np.float32, copy=False), mask


def describe(params: dict) -> Facts:
    """Tell what is on the scan.

    Shapes   none.
    Units    none.
    Returns  captions.Facts; places are those of the image, for a scan does not say which breast.
    Raises   nothing.
    Source   thresholds on the parameters that were drawn.
    """
    detail: tuple[str, ...]
    finding, m = params["finding"], params["mass"]
    if not m:
        names = ("normal breast", "normal breast tissue pattern", "normal fibroglandular pattern")
        detail = ("undisturbed layers of fat and gland", "no shadow and no mass")
        return Facts(names, positive=False, detail=detail, absent=("mass", "focal lesion", "cyst"))
    radius = float(np.sqrt(m["rx"] * m["ry"]))
    size = "small" if radius < 0.097 else "medium-sized" if radius < 0.127 else "large"
    side = "in the centre" if 0.4 <= m["x"] <= 0.6 else f"on the {'left' if m['x'] < 0.4 else 'right'}"
    near = "close to the skin" if m["y"] < 0.32 else "at middle depth" if m["y"] < 0.48 else "deep in the breast"
    place = (f"{side} of the image", f"{side} of the image, {near}", near)
    # What lies behind a mass is named only where it can be seen: 3 dB and more.
    behind = abs(m["loss"]) * 2 * m["ry"] > 3
    if finding == "benign":
        names = ("benign mass", "benign lesion", "benign breast mass")
        detail = ("smooth margins", "an oval shape, wider than tall", *["posterior enhancement"] * behind)
        return Facts(names, size=size, place=place, detail=detail, absent=("malignant mass",))
    names = ("malignant mass", "malignant lesion", "malignant breast mass")
    spikes = ["a spiculated outline"] * (params["severity"] > 0.5)
    detail = ("irregular margins", "a shape taller than wide", *["posterior shadowing"] * behind, *spikes)
    return Facts(names, size=size, place=place, detail=detail, absent=("benign mass",))
