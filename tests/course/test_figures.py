"""Figures are described, deterministic, offline and usable by keyboard."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from medadv.course import figures


class Tags(HTMLParser):
    """All opening tags with their attributes, and proof that they are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def _decode(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split("base64,")[1]))).convert("RGB"))


def _plot():
    canvas, axis = figures.axes(width=3, height=2)
    axis.plot([0, 1], [0, 1])
    return canvas


@pytest.fixture
def plot():
    return _plot()


def test_show_keeps_the_description(plot):
    made = figures.show(plot, alt='A line that "rises".', caption="x < y")
    tags = Tags(made._repr_html_())
    assert not tags.open
    assert tags.all("img")[0]["alt"] == 'A line that "rises".'
    assert "x &lt; y" in made.html
    assert repr(made) == 'Figure: A line that "rises".'


@pytest.mark.parametrize("alt", ["", "   ", None])
def test_show_refuses_no_description(plot, alt):
    with pytest.raises(ValueError, match="'alt' parameter of show"):
        figures.show(plot, alt=alt)


def test_figures_are_the_same_twice():
    assert figures.show(_plot(), alt="A.").html == figures.show(_plot(), alt="A.").html


def test_axes_leave_nothing_global():
    import matplotlib as mpl

    before = {key: value for key, value in mpl.rcParams.items() if key != "backend"}
    figures.axes()
    assert {key: value for key, value in mpl.rcParams.items() if key != "backend"} == before


def test_gallery_keeps_pixels():
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    made = figures.gallery(images, [f"<{i}>" for i in range(5)], alt="Five squares.", columns=3)
    tags = Tags(made.html)
    pictures = tags.all("img")
    assert [p["alt"] for p in pictures] == [f"<{i}>" for i in range(5)]
    back = _decode(pictures[2]["src"]) / 255
    assert np.abs(back - images[2].permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
    group = next(attrs for attrs in tags.all("div") if attrs.get("role") == "group")
    assert group["aria-label"] == "Five squares."


def test_gallery_takes_grey_images_and_masks():
    made = figures.gallery([torch.zeros(1, 4, 4), np.ones((4, 4)), torch.ones(3, 4, 4)], alt="Three squares.")
    assert len(Tags(made.html).all("img")) == 3


def test_gallery_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match="one title per image"):
        figures.gallery([torch.zeros(1, 4, 4)], ["a", "b"], alt="x")
    with pytest.raises(ValueError, match=r"values in \[0, 1\]; got shape \(3, 4, 4\), values 2 to 2"):
        figures.gallery([2 * torch.ones(3, 4, 4)], alt="x")


def test_slider_is_labelled_and_starts_where_told():
    frames = [torch.full((3, 8, 8), i / 4) for i in range(5)]
    made = figures.slider(frames, label="epsilon", values=range(5), alt="A grey square.", start=2)
    tags = Tags(made.html)
    shown = [attrs["alt"] for attrs in tags.all("img") if "display:none" not in attrs["style"]]
    assert shown == ["A grey square. epsilon: 2."]
    control = tags.all("input")[0]
    assert (control["type"], control["min"], control["max"], control["value"]) == ("range", "0", "4", "2")
    assert control["aria-valuetext"] == "2"
    assert tags.all("output")[0]["aria-live"] == "polite"
    assert re.search(r"<label>epsilon <input", made.html)
    assert "<script" not in made.html
    assert "http" not in made.html


def test_slider_id_depends_on_words_alone():
    def name(frames, values):
        html = figures.slider(frames, label="steps", values=values, alt="Squares.").html
        return re.search(r'id="(mv-[0-9a-f]{12})"', html).group(1)

    black, white = [torch.zeros(1, 4, 4)] * 2, [torch.ones(1, 4, 4)] * 2
    assert name(black, [1, 2]) == name(white, [1, 2])
    assert name(black, [1, 2]) != name(black, [1, 3])


def test_slider_takes_a_description_for_each_frame():
    frames = [torch.zeros(1, 4, 4)] * 2
    made = figures.slider(frames, label="x", values=[1, 2], alt=lambda v: f"Level {v}.")
    assert [a["alt"] for a in Tags(made.html).all("img")] == ["Level 1.", "Level 2."]
    made = figures.slider(frames, label="x", values=[1, 2], alt=["a", "b"])
    assert [a["alt"] for a in Tags(made.html).all("img")] == ["a", "b"]


@pytest.mark.parametrize("wrong", [{"values": [1]}, {"alt": ["a"]}, {"frames": []}])
def test_slider_refuses_unequal_numbers(wrong):
    given = {"frames": [torch.zeros(1, 4, 4)] * 2, "values": [1, 2], "alt": "A."} | wrong
    with pytest.raises(ValueError, match="'frames' parameter of slider"):
        figures.slider(given.pop("frames"), label="x", **given)
