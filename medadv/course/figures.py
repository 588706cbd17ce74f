"""Figures that work everywhere a notebook is read: JupyterLab, the site, a file, paper, by ear.

Every figure is one piece of HTML with its pictures inside and a description for those who cannot see it.
There are no random ids and no outside scripts, so the stored output is the same on every run
(`tests/book/nbval_sanitize.cfg` replaces the picture bytes, which may differ between machines).
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b5b5b")
"""Okabe and Ito's colours, which remain distinct for colour-blind readers; use markers or hatches besides."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "font.size": 10.0,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "savefig.facecolor": "white",
}

# One handler on the control itself: no ids to clash, nothing to load, and it survives being moved.
_MOVE = (
    "const f=this.closest('figure'),s=[...f.querySelectorAll('.mv-frame')],i=+this.value;"
    "s.forEach((e,j)=>{e.style.display=j===i?'':'none'});"
    "const v=s[i].dataset.value;"
    "f.querySelector('output').textContent=v;"
    "this.setAttribute('aria-valuetext',v)"
)


@dataclass(frozen=True)
class Figure:
    """A finished figure: HTML with the pictures inside, and what it says in words."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


def axes(*, rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.0, **options: Any):
    """Open an empty matplotlib figure in the style of the book.

    Shapes   rows and columns count the panels.
    Units    width and height in inches; 110 dots per inch.
    Returns  (figure, axes) as `matplotlib.pyplot.subplots` does, without registering the figure anywhere.
    Raises   whatever matplotlib raises.
    Source   ours; colours of Okabe and Ito, Color Universal Design.
    """
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        canvas = Canvas(figsize=(width, height), dpi=110, layout="constrained")
        return canvas, canvas.subplots(rows, columns, **options)


def show(figure, *, alt: str, caption: str | None = None) -> Figure:
    """Turn a matplotlib figure or an image into a figure with a description; make it the last line of a cell.

    Shapes   an image is (3, H, W), (1, H, W) or (H, W).
    Units    images in [0, 1].
    Returns  a Figure that a notebook draws.
    Raises   ValueError if the description is empty.
    Source   ours.
    """
    _described(alt, "show")
    return Figure(_figure(_img(_png(figure), alt), caption), alt)


def gallery(
    images,
    titles: Sequence[str] | None = None,
    *,
    alt: str,
    columns: int = 4,
    width: int = 128,
    caption: str | None = None,
) -> Figure:
    """Lay out many small images in a grid, each at its own resolution with its title as real text.

    Shapes   images (B, 3, H, W), or a list of (3, H, W), (1, H, W), (H, W).
    Units    images in [0, 1]; width in CSS pixels of one image on the page.
    Returns  a Figure; every image is described by `alt` and its title.
    Raises   ValueError if the description is empty or titles and images differ in number.
    Source   ours.
    """
    _described(alt, "gallery")
    names = list(titles) if titles is not None else [f"image {i + 1}" for i in range(len(images))]
    if len(names) != len(images):
        raise ValueError(
            f"The 'titles' parameter of gallery must have one title per image; got {len(names)} titles for "
            f"{len(images)} images. Repeat or drop some."
        )
    cells = []
    for image, name in zip(images, names, strict=True):
        shown = f'<span style="display:block;font-size:.8em;line-height:1.25">{escape(name)}</span>' if titles else ""
        picture = _img(_png(image), name, style=f"width:{width}px;image-rendering:pixelated")
        cells.append(f'<div style="width:{width}px">{picture}{shown}</div>')
    limit = columns * (width + 12)
    grid = (
        f'<div class="mv-grid" role="group" aria-label="{escape(alt, quote=True)}" '
        f'style="display:flex;flex-wrap:wrap;gap:12px;max-width:{limit}px">{"".join(cells)}</div>'
    )
    return Figure(_figure(grid, caption), alt)


def slider(
    frames: Sequence,
    *,
    label: str,
    values: Sequence,
    alt: str | Sequence[str] | Callable[[Any], str],
    caption: str | None = None,
    start: int = 0,
    width: int | None = None,
) -> Figure:
    """Put ready-made frames behind a slider that works offline, by keyboard and with a screen reader.

    Shapes   frames: F matplotlib figures or images; values: F numbers or words, one for each frame.
    Units    images in [0, 1]; width in CSS pixels, for enlarging small images; start counts frames from 0.
    Returns  a Figure showing frame `start` first; every frame has its own description. Its id is a hash of
             the words, so it is the same on every machine.
    Raises   ValueError if the numbers of frames, values and descriptions differ, or a description is empty.
    Source   ours.
    """
    words = [str(value) for value in values]
    if callable(alt):
        said = [alt(value) for value in values]
    elif isinstance(alt, str):
        said = [f"{alt} {label}: {word}." for word in words]
    else:
        said = list(alt)
    if not len(frames) == len(words) == len(said) or not words:
        raise ValueError(
            f"The 'frames' parameter of slider must match values and alt; got {len(frames)} frames, "
            f"{len(words)} values and {len(said)} descriptions. Give one of each per frame."
        )
    style = [f"width:{width}px", "image-rendering:pixelated"] if width else []
    parts = []
    for i, (frame, word, text) in enumerate(zip(frames, words, said, strict=True)):
        _described(text, "slider")
        css = ";".join(style if i == start else [*style, "display:none"])
        extra = f'class="mv-frame dark-light" data-value="{escape(word, quote=True)}"'
        parts.append(_img(_png(frame), text, style=css, extra=extra))
    control = (
        f'<div class="mv-control"><label>{escape(label)} '
        f'<input type="range" min="0" max="{len(words) - 1}" step="1" value="{start}" autocomplete="off" '
        f'aria-valuetext="{escape(words[start], quote=True)}" oninput="{_MOVE}">'
        f'</label> <output aria-live="polite">{escape(words[start])}</output></div>'
    )
    name = "mv-" + hashlib.sha256("\n".join([label, *words, *said]).encode()).hexdigest()[:12]
    return Figure(_figure("".join(parts) + control, caption, name=name), said[start])


def _described(alt: str, where: str) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(
            f"The 'alt' parameter of {where} must be a sentence saying what the figure shows; got {alt!r}. "
            "Write what a reader should take from it."
        )


def _figure(inside: str, caption: str | None, *, name: str = "") -> str:
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    key = f' id="{name}"' if name else ""
    return f'<figure class="mv-figure"{key} style="margin:1em 0">{inside}{said}</figure>'


def _img(png: bytes, alt: str, *, style: str = "", extra: str = 'class="dark-light"') -> str:
    data = base64.b64encode(png).decode("ascii")
    css = ("max-width:100%;" + style).rstrip(";")
    return f'<img {extra} style="{css}" alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def _png(picture) -> bytes:
    """Encode without time stamps; drawings get a palette, which makes them three times smaller."""
    from PIL import Image

    if hasattr(picture, "savefig"):
        raw = io.BytesIO()
        picture.savefig(raw, format="png", metadata={"Software": None})
        image = Image.open(raw).convert("RGB")
        image = image.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    elif isinstance(picture, Image.Image):
        image = picture.convert("RGB")
    else:
        image = Image.fromarray(_uint8(picture))
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _uint8(picture) -> np.ndarray:
    array = np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture, dtype=np.float64)
    if array.ndim == 3:
        array = array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or array.min() < -1e-6 or array.max() > 1 + 1e-6:
        raise ValueError(
            f"The picture must be an image (3, H, W), (1, H, W) or (H, W) with values in [0, 1]; got shape "
            f"{tuple(np.shape(picture))}, values {array.min():.3g} to {array.max():.3g}. Scale it first."
        )
    return np.ascontiguousarray((array.clip(0, 1) * 255).round().astype(np.uint8))
