"""Whole evaluations on a small random model: the numbers are those of the parts they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tinyworld import write_images, write_model

from medadv.data import read_tidy
from medadv.models import ZeroShot, from_folder
from medadv.reports.adaptation import folds_report, within
from medadv.reports.classification import ask, classify_report, predict
from medadv.reports.report import Report
from medadv.reports.retrieval import retrieve_report


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return from_folder(write_model(root / "model")), read_tidy(write_images(root / "images"), size=32)


def test_predict_is_the_head_itself_and_leaves_no_trace(world):
    vlm, pairs = world
    head = ZeroShot.from_prompts(vlm, list(pairs.classes))
    head.train()
    got = predict(head, pairs, batch_size=7)
    assert head.training
    assert vlm.model.training
    head.eval()
    with torch.no_grad():
        want = head(pairs.batch(range(len(pairs))).image)
    assert torch.allclose(got, want, atol=1e-5)


def test_classification_table(world):
    _vlm, pairs = world
    logits = torch.nn.functional.one_hot(pairs.labels, 2).float() * 3 + torch.randn(
        len(pairs), 2, generator=torch.Generator().manual_seed(0)
    )
    report = classify_report(logits, pairs, n=200)
    right = logits.argmax(1) == pairs.labels
    assert report["accuracy"].value == pytest.approx(right.float().mean().item())
    assert "24 groups" in report["accuracy"].method  # patients, not images
    by_class = [report["sensitivity", name] for name in pairs.classes]
    assert np.mean([e.value for e in by_class]) == pytest.approx(report["balanced accuracy"].value)
    assert report["AUC", "naevus"].value == pytest.approx(report["macro AUC"].value)
    assert [e.n for e in by_class] == [24, 24]
    with pytest.raises(ValueError, match="images by classes"):
        classify_report(logits[:, :1], pairs)


def test_retrieval_table(world):
    vlm, pairs = world
    report = retrieve_report(vlm, pairs, k=(1, 2))
    assert report["recall@2", "i2t", "same wording"].value == 1  # there are only two wordings
    assert report["recall@1", "t2i", "same wording"].n == 2
    assert report["recall@1", "i2t", "own only"].value == 0  # its 23 twins tie with the own caption
    assert report.settings["wordings"] == 2


def test_shortcut_table(world):
    _vlm, pairs = world
    number, names = pairs.groups("projection")
    assert names == ("ap", "pa")
    # A classifier that only looks at the projection.
    logits = torch.stack([number.float(), 1 - number.float()], 1)
    report = within(classify_report(logits, pairs), pairs, "projection", n=100)
    assert report["macro AUC", "all"].value == pytest.approx(report["macro AUC", "projection alone"].value)
    assert report["macro AUC", "all"].value > 0.8
    assert report["macro AUC", "ap"].value == 0.5
    assert np.isnan(report["macro AUC", "pa"].value)  # all naevi
    with pytest.raises(ValueError, match="'by' parameter of groups"):
        within(classify_report(logits, pairs), pairs, "scanner")
    with pytest.raises(ValueError, match="raw scores"):
        within(Report(()), pairs, "projection")


def test_folds_report_separates_patients(world):
    vlm, pairs = world
    found = folds_report(vlm, pairs, folds=3, within="projection", method="probe", progress=False)
    assert found["folds"]["macro AUC"].value > 0.95  # red and blue
    assert set(found) == {"folds", "within_projection"}


def test_ask_about_one_picture(world, tmp_path):
    vlm, _ = world
    pixels = np.random.default_rng(0).random((40, 50, 3))
    Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "chw.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
    answers = [ask(vlm, tmp_path / name, ["a naevus", "a melanoma"]) for name in ("a.png", "a.npy", "chw.npy")]
    for answer in answers:
        assert sum(row["estimate"].value for row in answer.rows) == pytest.approx(1, abs=1e-5)
        assert answer["share", "a naevus"].value == pytest.approx(answers[0]["share", "a naevus"].value, abs=0.02)


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("normalised", np.full((3, 32, 32), -1.5, dtype=np.float32), "Did you normalise"),
        ("normalised_last", np.full((32, 32, 3), 2.0), "values from 2 to 2"),
        ("two", np.zeros((2, 32, 32), dtype=np.float32), "2 channel"),
        ("uint8", np.zeros((3, 32, 32), dtype=np.uint8), "Divide uint8"),
        ("objects", np.array([{}], dtype=object), "no readable array"),
    ],
)
def test_arrays_that_are_no_pixels_are_refused(world, tmp_path, name, array, match):
    np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ValueError, match=match):
        ask(world[0], tmp_path / f"{name}.npy", ["a", "b"])


def test_files_that_are_no_pictures_are_refused(world, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.npy").write_text("hello")
    for name in ("empty.png", "text.npy"):
        with pytest.raises(ValueError, match="is no"):
            ask(world[0], tmp_path / name, ["a", "b"])
