"""Heads over broken models, class names that say nothing, and grey pictures."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from tinyworld import write_model

from medadv.data import Pairs, Row
from medadv.models import ZeroShot, load
from medadv.models.head import fit_probe
from medadv.reports.classification import ask, head_report
from medadv.reports.retrieval import retrieve_report


@pytest.fixture
def vlm(tmp_path):
    return load(f"local-dir:{write_model(tmp_path / 'model')}")


def pairs() -> Pairs:
    image = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = tuple(Row(i % 2, (f"picture {i}",), f"p{i}", {}) for i in range(6))
    return Pairs("six", ("naevus", "melanoma"), rows, lambda i: (image[i], None))


def break_images(vlm):
    with torch.no_grad():
        next(vlm.model.visual.parameters()).fill_(torch.nan)
    return vlm


def test_no_reader_of_a_model_that_says_nan_gives_a_number(vlm, tmp_path):
    head = ZeroShot.from_prompts(vlm, ["naevus", "melanoma"])
    break_images(vlm)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    for call in (
        lambda: head_report(head, pairs()),
        lambda: retrieve_report(vlm, pairs()),
        lambda: fit_probe(vlm, pairs()),
        lambda: ask(vlm, tmp_path / "a.png", ["naevus", "melanoma"]),
    ):
        with pytest.raises(ValueError, match=r"(NaN in rows 0|got NaN or infinity for images? 0\b)"):
            call()


def test_texts_that_are_nan_make_no_classifier(vlm):
    with torch.no_grad():
        vlm.model.token_embedding.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="The text embeddings of .* must be finite numbers"):
        ZeroShot.from_prompts(vlm, ["naevus", "melanoma"])


@pytest.mark.parametrize(
    ("classes", "warned"),
    [
        (["0.0", "1.0"], "0.0"),
        (["melanoma", "C43"], "C43"),
        (["class 0", "class_1"], "class 0"),
        (["naevus", "melanoma"], None),
        (["grade 2 glioma", "no finding"], None),
    ],
)
def test_a_class_named_by_a_number_is_warned_about(vlm, classes, warned, caplog):
    with caplog.at_level(logging.WARNING):
        ZeroShot.from_prompts(vlm, classes)
    said = [record.getMessage() for record in caplog.records if "number or a code" in record.getMessage()]
    assert len(said) == (warned is not None)
    assert warned is None or repr(warned) in said[0]


def test_a_grey_picture_is_read_as_three_equal_channels(vlm, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "rgb.png")
    np.save(tmp_path / "grey.npy", grey)
    np.save(tmp_path / "one.npy", grey[None].astype(np.float32) / 255)
    np.save(tmp_path / "last.npy", grey[..., None])
    answers = [ask(vlm, tmp_path / name, ["naevus", "melanoma"]) for name in ("rgb.png", "grey.png", "grey.npy")]
    answers += [ask(vlm, tmp_path / name, ["naevus", "melanoma"]) for name in ("one.npy", "last.npy")]
    first = {row["class"]: row["estimate"].value for row in answers[0].rows}
    for other in answers[1:]:
        for row in other.rows:
            assert row["estimate"].value == pytest.approx(first[row["class"]], abs=1e-3)
