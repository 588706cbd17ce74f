"""The physics of the chest radiograph: anatomy as a map of attenuation, and a film behind it (Beer-Lambert).

Body frame: u runs to the image's right (the patient's left) from the midline, v runs down, both in fractions
of the side before the patient is shifted, tilted and zoomed. Air removes path, bone and fluid add it.
"""

from __future__ import annotations

import numpy as np

from medadv.data.phantoms._canvas import Field, grain, grid, paint, stroke

APEX, MIDDLE, HALF = 0.10, 0.52, 0.42
"""Top, centre and half height of the lungs in the body frame."""
WIDEST = 1.018
"""Half width of the egg-shaped lung in units of rx, so that the cardiothoracic ratio told is drawn."""


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
