"""One phantom from (seed, i): who the patient is, what is found, what is said, and what the picture looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medadv.data.pairs import Row
from medadv.data.phantoms import captions, chest, dermoscopy, endoscopy, fundus, histology, ultrasound
from medadv.data.phantoms._canvas import grain, stroke

MODALITIES = {m.NAME: m for m in (chest, fundus, histology, dermoscopy, ultrasound, endoscopy)}
ATTRIBUTES = {
    "sex": ("female", "male"),
    "age_group": ("under_50", "50_and_over"),
    "appearance": ("light", "medium", "dark"),
}
"""Protected attributes. Appearance is skin or fundus pigmentation, elsewhere the exposure, stain or gain of a site."""
_TONE = {"light": -0.7, "medium": 0.0, "dark": 0.7}
_PATIENT, _SCENE, _WORDS, _SITE = range(4)  # independent random streams of one sample


@dataclass(frozen=True)
class Controls:
    """What can be turned: each is a number, or a mapping from the values of one attribute to numbers."""

    prevalence: float | Mapping[str, float] | None = None
    """Probability of a finding other than the reference; None draws all classes equally often."""
    appearance: float | Mapping[str, float] = 0.0
    """Shift of the picture in [0, 1]: contrast is lost and noise gained, as at a badly served site."""
    caption_error: float | Mapping[str, float] = 0.0
    """Probability that the captions tell of another finding than the picture shows."""
    shortcut: float | None = None
    """Burned-in marker: None never; s on (1 + s) / 2 of the positive and (1 - s) / 2 of the reference images."""
    shares: Mapping[str, float] | None = None
    """Shares of the values of one attribute in the population ({"dark": 0.1}); the rest is divided equally."""

    def __post_init__(self) -> None:
        known = {value: attribute for attribute, values in ATTRIBUTES.items() for value in values}
        for name in ("prevalence", "appearance", "caption_error", "shares", "shortcut"):
            value = getattr(self, name)
            single, many = name != "shares", name != "shortcut"
            if not (
                value is None or (isinstance(value, Mapping) and many) or (isinstance(value, (int, float)) and single)
            ):
                wanted = " or ".join(["a number"] * single + ["a mapping of attribute values to numbers"] * many)
                raise ValueError(f"The '{name}' parameter of Controls must be {wanted}; got {value!r}.")
            numbers = value if isinstance(value, Mapping) else {} if value is None else {"": value}
            keys = [key for key in numbers if key]
            if any(key not in known for key in keys) or len({known[key] for key in keys}) > 1:
                raise ValueError(
                    f"The '{name}' parameter of Controls must name values of one attribute of {ATTRIBUTES}; got {keys}."
                )
            if not all(0 <= number <= 1 for number in numbers.values()):
                raise ValueError(f"The '{name}' parameter of Controls must lie in [0, 1]; got {value}.")
        if self.shares:
            total, values = sum(self.shares.values()), ATTRIBUTES[known[next(iter(self.shares))]]
            if total > 1 + 1e-9 or (len(self.shares) == len(values) and total < 1 - 1e-9):
                raise ValueError(
                    "The 'shares' parameter of Controls must sum to at most 1, and to 1 where every value is named; "
                    f"got {dict(self.shares)}."
                )


class Scene(NamedTuple):
    """Everything about sample i before a pixel is drawn."""

    modality: str
    finding: str
    params: dict
    row: Row
    shift: float
    marker: bool


def scene(i: int, *, seed: int, modalities: tuple[str, ...], controls: Controls, words: bool = True) -> Scene:
    """Draw sample i. It depends on its arguments alone; `words` False leaves the captions out, which is faster.

    Shapes   none.
    Units    none.
    Returns  Scene; row.label counts the classes of the given modalities in order.
    Raises   nothing.
    Source   ours.
    """
    attributes = _patient(seed, i // 2, controls)
    rng = np.random.default_rng((seed, i, _SCENE))
    classes = [(name, finding) for name in modalities for finding in MODALITIES[name].PROMPTS]
    name, finding = classes[int(rng.integers(len(classes)))]
    findings = list(MODALITIES[name].PROMPTS)
    prevalence = _rate(controls.prevalence, attributes, None)
    if prevalence is not None:
        positive = rng.random() < prevalence
        finding = findings[1 + int(rng.integers(len(findings) - 1))] if positive else findings[0]
    tone = _TONE[attributes["appearance"]] + 0.2 * float(rng.standard_normal())
    params = MODALITIES[name].draw(rng, finding, tone)

    site = np.random.default_rng((seed, i, _SITE))
    wrong = site.random() < (_rate(controls.caption_error, attributes, 0.0) or 0.0)
    marker = False
    if controls.shortcut is not None:
        lean = controls.shortcut if finding != findings[0] else -controls.shortcut
        marker = bool(site.random() < (1 + lean) / 2)
        attributes["marker"] = "yes" if marker else "no"
    said: tuple[str, ...] = ()
    if words:
        told = params
        if wrong:  # another finding of the same modality, drawn whole, so that the wrong caption is a plausible one
            other = [f for f in findings if f != finding][int(site.integers(len(findings) - 1))]
            told = MODALITIES[name].draw(site, other, tone)
        said = captions.write(MODALITIES[name].describe(told), MODALITIES[name].NOUNS, _stream(seed, i, _WORDS))
    if controls.caption_error:
        attributes["caption_wrong"] = "yes" if wrong else "no"
    row = Row(
        label=classes.index((name, finding)),
        captions=said,
        patient=f"p{i // 2:06d}",
        attributes=attributes,
        severity=float(params["severity"]),
        name=f"{name}-{seed}-{i:06d}",
    )
    shift = float(_rate(controls.appearance, attributes, 0.0) or 0.0)
    return Scene(name, finding, params, row, shift, marker)


def picture(made: Scene, size: int) -> tuple[Tensor, Tensor]:
    """Render a scene, with the site's shift and marker on top.

    Shapes   image (3, size, size), mask (1, size, size).
    Units    image in [0, 1], mask 0 or 1.
    Returns  (image, mask), float32.
    Raises   nothing.
    Source   ours.
    """
    image, mask = MODALITIES[made.modality].render(made.params, size)
    if made.shift:
        middle = image.mean(axis=(0, 1), keepdims=True)
        noise = grain(int(made.params["seed"]) + 1, size)[..., None]
        image = middle + (image - middle) * (1 - 0.6 * made.shift) + 0.08 * made.shift * noise
    if made.marker:
        # A lead letter as radiographers put it in the corner: an L of two bars.
        bars = np.array([[0.06, 0.05], [0.06, 0.15], [0.12, 0.15]])
        image = np.maximum(image, 0.95 * stroke(size, bars, 0.022)[..., None])
    pixels = np.ascontiguousarray(np.clip(image, 0, 1).transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(pixels), torch.from_numpy(np.array(mask, dtype=np.float32)[None])


def _stream(seed: int, i: int, role: int) -> np.random.Generator:
    return np.random.default_rng((seed, i, role))


def _patient(seed: int, patient: int, controls: Controls) -> dict[str, str]:
    rng = _stream(seed, patient, _PATIENT)
    found = {}
    for attribute, values in ATTRIBUTES.items():
        given = {v: s for v, s in (controls.shares or {}).items() if v in values}
        rest = (1 - sum(given.values())) / max(len(values) - len(given), 1)
        shares = np.array([given.get(v, rest) for v in values]).clip(0)
        found[attribute] = values[
            int(np.searchsorted(np.cumsum(shares / shares.sum()), rng.random()).clip(0, len(values) - 1))
        ]
    return found


def _rate(rate, attributes: dict[str, str], default: float | None) -> float | None:
    if not isinstance(rate, Mapping):
        return default if rate is None else rate
    return next((rate[value] for value in attributes.values() if value in rate), default)
