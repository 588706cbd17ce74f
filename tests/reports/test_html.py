"""The page under attack stands alone, can be read aloud, and shows what it says it shows."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from toyworld import Linear, toy_pairs

from medadv.reports.doctor import Flag
from medadv.reports.html.pictures import LARGEST, gallery, png
from medadv.reports.html.robustness import page, save_page, short, summary, table
from medadv.reports.robustness import Picture, attacked, attacked_within


@pytest.fixture(scope="module")
def report():
    how = {"threats": ["linf:2/255", "l2:0.3"], "attacks": ["fgsm", "pgd"], "n": 50, "batch_size": 10}
    return attacked(Linear(), toy_pairs(unknown=2), show=4, settings={"model": "<linear>"}, **how)


class Tags(HTMLParser):
    """Every tag with its attributes, and whether all that open also close."""

    def __init__(self, html: str):
        super().__init__()
        self.seen: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(report, tmp_path):
    flags = [Flag("zero gradients", True, "all <of> them.", "Look."), Flag("few classes", False, "Not run: no.", "")]
    more = {"within_sex": attacked_within(report, toy_pairs(unknown=2), "sex", n=50)}
    text = save_page(report, tmp_path / "a.html", flags=flags, more=more).read_text(encoding="utf-8")
    tags = Tags(text)
    assert not [tag for tag in tags.open if tag not in ("html", "body")]
    assert not re.search(r"(src|href)=\"?(?!data:)[a-z]|url\(|@import|<script|<link", text)
    assert "&lt;linear&gt;" in text
    assert "<linear>" not in text
    assert "all &lt;of&gt; them. Look." in text
    assert "2 images of unknown label were left out" in text
    assert "prefers-color-scheme: dark" in text
    assert "Within sex" in text
    names = [tag for tag, _ in tags.seen]
    assert names.count("h1") == 1
    assert names.index("h1") < names.index("h2") < names.index("h3")
    assert dict(tags.seen[names.index("html")][1])["lang"] == "en"
    assert all(attributes.get("scope") for tag, attributes in tags.seen if tag == "th")
    pictures = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert len(pictures) == 3 * len(report.pictures) == 24
    assert all(one["alt"].endswith(".") for one in pictures)


def test_the_summary_speaks_of_the_worst_case(report):
    said = summary(report)
    assert "Of 28 images" in said
    assert "Within linf:2/255, the worst of 2 attacks leaves" in said
    assert f"{100 * report['robust accuracy', 'l2:0.3', 'worst'].value:.1f} %" in said


def test_tables_leave_out_what_is_empty(report):
    wide = short(report.wide())
    assert "mean size" not in wide
    assert wide["moved, mean (most)"][1].endswith("/255")
    assert "/255" not in wide["moved, mean (most)"].iloc[-1]
    html = table(wide.iloc[:1])
    assert "attack success rate" not in html
    assert html.count("<td>") == html.count("</td>")


def test_pictures_are_what_they_were(report):
    one = report.pictures[0]
    data = png(one.adversarial)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))))
    assert np.array_equal(back, (one.adversarial.permute(1, 2, 0) * 255).round().byte().numpy())
    large = Image.open(io.BytesIO(base64.b64decode(png(torch.rand(3, 400, 300)).split(",")[1])))
    assert max(large.size) == LARGEST


def test_the_gallery_says_how_much_it_amplifies():
    clean, share = torch.full((3, 8, 8), 0.5), np.array([0.75, 0.25])
    moved = clean.clone()
    moved[0, 0, 0] += 4 / 255
    one = Picture(0, "linf:4/255", "pgd", clean, moved, share, share[::-1])
    html = gallery([one, Picture(1, "l2:1", "pgd", clean, clean, share, share)], ["cat", "<dog>"])
    assert "shown 31 times" in html
    assert "shown 1 times" in html  # nothing was added
    assert "cat 75\u00a0% → <span class=fooled>&lt;dog&gt; 75" in html
    assert "class=held" in html


def test_pictures_hold_what_was_fooled_and_what_resisted(report):
    mine = [one for one in report.pictures if one.threat == "linf:2/255"]
    assert len(mine) == 4
    assert {one.fooled for one in mine} == {True, False}
    assert mine[0].fooled
    assert all(one.before.argmax() == one.label for one in mine)
    assert not attacked(Linear(), toy_pairs(), threats=["linf:1/255"], attacks=["fgsm"], show=0, n=20).pictures
    assert "Pictures" not in page(
        attacked(Linear(), toy_pairs(), threats=["linf:1/255"], attacks=["fgsm"], show=0, n=20)
    )
