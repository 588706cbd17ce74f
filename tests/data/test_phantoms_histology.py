"""The histology phantom absorbs like two dyes and tells the truth about its cells."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, histology

FINDINGS = tuple(histology.PROMPTS)
CASES = [(finding, k) for finding in FINDINGS for k in range(3)]


def scene(finding: str, k: int, tone: float | None = None) -> dict:
    tone = (-0.7, 0.0, 0.7)[k % 3] if tone is None else tone
    return histology.draw(np.random.default_rng((5, k)), finding, tone)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_picture_and_mask_are_well_formed_and_repeatable(finding, k):
    params = scene(finding, k)
    for size in (32, 64, 96):
        image, mask = histology.render(params, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert np.isfinite(image).all()
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.any() == (finding != "normal")
        again, same = histology.render(params, size)
        assert np.array_equal(image, again)
        assert np.array_equal(mask, same)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_one_scene_at_every_size(finding, k):
    params = scene(finding, k) | {"noise": 0.0}
    small, mask = histology.render(params, 64)
    large, wide = histology.render(params, 256)
    pooled = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), pooled.ravel())[0, 1] > 0.9
    assert abs(small.mean() - pooled.mean()) < 0.03
    assert abs(mask.mean() - wide.mean()) < 0.01


@pytest.mark.parametrize("finding", FINDINGS)
def test_stain_strength_changes_the_colours_and_not_the_finding(finding):
    pale, strong = scene(finding, 3, -0.7), scene(finding, 3, 0.7)
    assert histology.describe(pale) == histology.describe(strong)
    assert np.array_equal(pale["nuclei"], strong["nuclei"])
    (a, mask), (b, same) = histology.render(pale, 64), histology.render(strong, 64)
    assert np.array_equal(mask, same)
    assert a.mean() > b.mean() + 0.02


def test_density_is_additive_in_the_dye():
    # Beer-Lambert: twice the stain gives twice the optical density, channel by channel.
    params = scene("normal", 1) | {"noise": 0.0, "lamp": np.ones(3)}
    once = -np.log(histology.render(params, 64)[0])
    twice = -np.log(histology.render(params | {"stain": 2 * params["stain"]}, 64)[0])
    assert np.allclose(twice, 2 * once, atol=2e-3)


def test_nuclei_are_what_the_finding_says():
    area = lambda cells: np.pi * cells[:, 2] * cells[:, 3]  # noqa: E731
    for k in range(20):
        normal, tumour, lymph = (scene(finding, k)["nuclei"] for finding in FINDINGS)
        params = scene("tumour", k)
        far = histology.outline(tumour[:, 0], tumour[:, 1], **params["area"])
        assert area(tumour[far < 0.97]).mean() > 1.4 * area(normal).mean()
        inner = histology.outline(lymph[:, 0], lymph[:, 1], **scene("lymphocytes", k)["area"]) < 1
        assert inner.sum() >= 12
        assert np.median(lymph[inner, 2]) < 0.025


def test_haematoxylin_overlaps_between_the_classes():
    # Otherwise the mean colour would give the finding away.
    red = {f: [-np.log(histology.render(scene(f, k), 32)[0][..., 0].mean()) for k in range(40)] for f in FINDINGS}
    for finding in ("tumour", "lymphocytes"):
        assert np.percentile(red["normal"], 80) > np.percentile(red[finding], 20)


def test_words_follow_the_parameters():
    sizes, places = set(), set()
    for k in range(60):
        params = scene("tumour", k)
        facts, area = histology.describe(params), params["area"]
        sizes.add(facts.size)
        places.add(facts.place[0])
        assert ("left" in facts.place[0]) == (area["cx"] < 0.4)
        assert ("upper" in facts.place[0]) == (area["cy"] < 0.4)
        assert (facts.size == "large") == (area["radius"] >= 0.305)
        assert ("marked" in facts.detail[0]) == (params["severity"] >= 0.75)
    assert sizes == {"small", "medium-sized", "large"}
    assert len(places) == 9


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_captions_are_many_and_name_no_attribute(finding, k):
    said = captions.write(histology.describe(scene(finding, k)), histology.NOUNS, np.random.default_rng(k))
    assert len(set(said)) == 6
    words = {word.strip(".,") for text in said for word in text.lower().split()}
    assert not words & {"male", "female", "man", "woman", "old", "fair", "light", "dark-skinned", "pigmented"}
