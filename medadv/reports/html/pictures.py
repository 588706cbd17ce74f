"""Pictures of an attack for a web page: clean, what was added, adversarial, and what the model said of both."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image
from torch import Tensor

from medadv.reports._robustness_run import Picture

LARGEST = 192
"""Side in pixels at which pictures are stored in the page."""


def gallery(pictures: Sequence[Picture], classes: Sequence[str]) -> str:
    """Show for each threat the clean image, what was added (amplified), the adversarial image, and what was said.

    Shapes   none.
    Units    probabilities are the softmax of the head's logits.
    Returns  HTML with PNGs inside, each with a description in words.
    Raises   nothing.
    Source   ours.
    """
    html = ""
    for threat in dict.fromkeys(one.threat for one in pictures):
        mine = [one for one in pictures if one.threat == threat]
        times = amplified([(one.clean, one.adversarial) for one in mine])
        html += f"<h3>{escape(threat)}</h3><p>What was added is shown {times} times as strong, around grey.</p>"
        html += "<div class=gallery>" + "".join(_figure(one, classes, times) for one in mine) + "</div>"
    return html


def amplified(shown: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Find how many times what was added can be enlarged around grey without leaving the box.

    Shapes   pairs of clean and adversarial images (3, H, W).
    Units    none.
    Returns  a whole number, 1 where nothing was added.
    Raises   nothing.
    Source   ours.
    """
    largest = max((float((after - before).abs().max()) for before, after in shown), default=0.0)
    return 1 if largest == 0 else max(1, math.floor(0.5 / largest))


def trio(clean: Tensor, adversarial: Tensor, times: int, *, said: tuple[str, str], by: str) -> str:
    """Show a clean image, what was added, and the adversarial image side by side.

    Shapes   images (3, H, W).
    Units    `times` as from `amplified`.
    Returns  HTML; `said` ends the descriptions of the clean and the adversarial image.
    Raises   nothing.
    Source   ours.
    """
    shown = (
        (clean, f"Clean image {said[0]}.", "clean"),
        (0.5 + times * (adversarial - clean), f"What {by} added, {times} times as strong.", f"added × {times}"),
        (adversarial, f"Adversarial image {said[1]}.", "adversarial"),
    )
    cells = (
        f'<div><img src="{png(image)}" alt="{escape(alt)}"><span>{name}</span></div>' for image, alt, name in shown
    )
    return f"<div class=trio>{''.join(cells)}</div>"


def png(image: Tensor) -> str:
    """Turn pixels into a PNG inside a data address, no side longer than LARGEST.

    Shapes   image (3, H, W).
    Units    [0, 1]; values outside are cut.
    Returns  str that fits the src of an <img>.
    Raises   nothing.
    Source   ours.
    """
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _figure(one: Picture, classes: Sequence[str], times: int) -> str:
    true, was, now = classes[one.label], _call(classes, one.before), _call(classes, one.after)
    words = f"of class {true}; the model says {was}", f"of the same; the model now says {now}"
    shown = trio(one.clean, one.adversarial, times, said=words, by=one.attack)
    look = "fooled" if one.fooled else "held"
    told = f"<b>{escape(true)}</b><br>{escape(was)} → <span class={look}>{escape(now)}</span>"
    return f"<figure>{shown}<figcaption>{told} <small>by {escape(one.attack)}</small></figcaption></figure>"


def _call(classes: Sequence[str], share: np.ndarray) -> str:
    return f"{classes[int(share.argmax())]} {100 * float(share.max()):.0f}\u00a0%"
