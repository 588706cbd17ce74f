"""What the notebooks of the chapter on PromptSmooth compute, on worlds where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import medadv
from medadv.certify.promptsmooth import few_shot, noisy_bank
from medadv.certify.records import as_log
from medadv.certify.smooth import certify
from medadv.certify.soundness import strike
from medadv.certify.test_time import TestTime
from medadv.course.ch10 import helpers, plots, toy
from medadv.course.claims import stored
from medadv.course.figures import Figure, show
from medadv.data.tidy import cache
from medadv.models.prompt import Prompt

KNOWN = {"step": 0.1, "sigma": 0.5}


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(3, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def start(pairs):
    return Prompt(medadv.load("tiny", device="cpu"), pairs.prompts[:4], context="a medical image showing")


def _row(subject, metric, value, p=""):
    estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}
    return {"subject": subject, "guarantee": "fixed", "metric": metric, "p": p, "estimate": estimate}


@pytest.fixture
def result(tmp_path):
    rows = [_row("a", "x", 0.5), _row("a", "y", 0.6), _row("b", "x", 0.7), _row("b - a", "x", 0.2, "0.03")]
    finding = {"paper": "p", "finding": "b is better", "measured": 0.2, "low": 0.1, "high": 0.3, "verdict": "holds"}
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"title": "T", "rows": rows, "findings": [finding], "seed": 0}))
    return stored(path)


def test_the_overclaim_is_the_step():
    x = np.array([-1.0, -0.2, 0.3, 0.8])
    for step in (0.0, 0.1, 0.5):
        assert np.allclose(toy.claimed(x, step=step, sigma=0.5), np.abs(x) + step)
        assert toy.turns_at(0.3, step=step, sigma=0.5) == pytest.approx(0.3, abs=2e-3)
    assert toy.turns_at(9.0, step=0.1, sigma=0.5) == float("inf")


def test_certified_accuracy_of_the_toy():
    draw = np.random.default_rng(0).normal(0.6, 0.5, 400_000)
    for r, step in ((0.0, 0.1), (0.5, 0.1), (0.5, 0.5)):
        claims, true = toy.accuracy([r], step=step)
        assert claims[0] == pytest.approx(((draw > 0) & (draw + step >= r)).mean(), abs=3e-3)
        assert true[0] == pytest.approx(((draw > 0) & (draw >= r)).mean(), abs=3e-3)


def test_slopes():
    x = np.linspace(-1.5, 1.5, 301)
    assert toy.steepness(x, toy.frozen(x, at=0.3, **KNOWN), sigma=0.5) == pytest.approx(1, abs=1e-6)
    assert toy.steepness(x, toy.deployed(x, **KNOWN), sigma=0.5) > 5
    for views in (1, 100):
        slope = toy.steepness(x, toy.deployed(x, views=views, **KNOWN), sigma=0.5)
        assert 1.05 < slope < (views + 1) ** 0.5
    noise = np.random.default_rng(1).standard_normal((4, 200_000)) * 0.5
    side = np.sign(0.2 + noise[:3].mean(0))
    votes = (0.2 + noise[3] > -0.1 * side).mean()
    assert votes == pytest.approx(toy.deployed([0.2], views=3, **KNOWN)[0], abs=4e-3)


@pytest.mark.parametrize(("step", "broken"), [(0.0, 0), (0.3, 2)])
def test_the_toy_as_a_head(step, broken):
    pixel = torch.tensor([0.6, 0.35]).view(2, 1, 1, 1)
    head = toy.Stepping(step)
    assert head(pixel).argmax(1).tolist() == [1, 0]
    rows = certify(head, pixel, sigma=0.25, n=2000, progress=False)
    assert {row.guarantee for row in rows} == {"prompt-frozen-at-x" if step else "fixed"}
    hits = strike(head, pixel, rows, steps=6, draws=16, progress=False)
    table = helpers.tally(hits)
    assert table["broken"].tolist() == [broken]
    assert table["attacked"].tolist() == [2]
    far = helpers.stretched(rows, 2)
    assert [one.radius for one in far] == [2 * one.radius for one in rows]


def test_movement():
    before = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    length, common = helpers.movement(before, before + torch.ones(8))
    assert (length, common) == (pytest.approx(8**0.5, rel=1e-5), pytest.approx(1, abs=1e-5))
    apart = torch.zeros(5, 8)
    apart[0, 0], apart[1, 0] = 1, -1
    assert helpers.movement(before, before + apart)[1] == pytest.approx(0, abs=1e-6)


def test_prompts_on_the_tiny_model(start, pairs):
    image = pairs.batch([0]).image[0]
    head = TestTime(start, views=6)
    seen = helpers.views(head, image, sigma=0.1)
    assert seen.shape == (6, start.weight().shape[1])
    line = helpers.along(head, image, image.flip(2), 0, sigma=0.1, where=(0, 1), n=10)
    assert line["prompt of x"][0] == line["prompt of x'"][0]
    assert all(0 <= share <= 1 for shares in line.values() for share in shares)
    bank = noisy_bank(start.vlm, pairs, sigmas=(0.1,), copies=1, labels=torch.tensor([0, 1, 2]), seed=9, progress=False)
    table = helpers.grounds({"few": few_shot(start, bank, epochs=1).head(), "zero": head})
    assert table["guarantee"].tolist() == ["fixed", "prompt-frozen-at-x"]
    assert table["fitted on"].tolist() == ["train noise of seed 9", "nothing"]


def test_a_wide_table_has_a_line_for_each_head(result):
    shown = helpers.wide(result, "x", "y")
    assert shown.frame()["x"].tolist() == ["0.500 [0.400, 0.600]", "0.700 [0.600, 0.800]"]
    assert "0.03" in helpers.wide(result, "x", against="a")._repr_html_()
    assert "seed: 0" in shown.provenance


def test_drawings(result):
    pixel = torch.tensor([0.6, 0.35]).view(2, 1, 1, 1)
    heads = {"fixed": toy.Stepping(0.0), "stepping": toy.Stepping(0.2)}
    log = as_log(certify(heads, pixel, sigma=0.25, n=200, progress=False), [1, 0])
    drawn = plots.certified(log, alt='Two "lines".', caption="Dashed: <conditional>.")
    assert "prompt-frozen-at-x" in drawn.html
    assert "stroke-dasharray" in drawn.html
    assert "&quot;lines&quot;" in drawn.html
    assert "&lt;conditional&gt;" in drawn.html
    pictures = [
        plots.order(),
        plots.stepping(at=0.4, **KNOWN),
        plots.stories([0, 1], {"a": [1.0, 0.9], "b": [1.0, 0.3]}, marks={"claimed": 1.1}),
        plots.intervals(result.pick("x"), xlabel="x", limits=(0, 1)),
    ]
    assert all(isinstance(show(picture, alt="A drawing."), Figure) for picture in pictures)
