"""The chest phantom tells the truth about itself and shows one scene at every size."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, chest

CASES = [(finding, k) for finding in chest.PROMPTS for k in range(6)]


def scene(finding: str, k: int) -> dict:
    return chest.draw(np.random.default_rng((11, k)), finding, (-0.7, 0.0, 0.7)[k % 3])


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_picture_and_mask_are_well_formed_and_repeatable(finding, k):
    params = scene(finding, k)
    for size in (32, 64):
        image, mask = chest.render(params, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert np.isfinite(image).all()
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.any() == (finding != "normal")
        again, same = chest.render(params, size)
        assert np.array_equal(image, again)
        assert np.array_equal(mask, same)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_one_scene_at_every_size(finding, k):
    params = scene(finding, k)
    small, mask = chest.render(params, 64)
    large, wide = chest.render(params, 256)
    pooled = large[..., 0].reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(small[..., 0].ravel(), pooled.ravel())[0, 1] > 0.97
    assert abs(mask.mean() - wide.mean()) < 0.01


@pytest.mark.parametrize("tone", [-0.7, 0.7])
def test_exposure_changes_the_film_and_not_the_finding(tone):
    plain = chest.draw(np.random.default_rng(3), "opacity", 0.0)
    other = chest.draw(np.random.default_rng(3), "opacity", tone)
    assert chest.describe(plain) == chest.describe(other)
    assert np.array_equal(chest.render(plain, 64)[1], chest.render(other, 64)[1])
    brighter = chest.render(other, 64)[0].mean() - chest.render(plain, 64)[0].mean()
    assert brighter * tone < 0


def test_ratio_told_is_the_ratio_drawn():
    for k in range(20):
        upright = {"angle": 0.0, "zoom": 1.0, "dx": 0.0, "dy": 0.0, "base": 0.9, "dome": 0.05}
        params = scene("cardiomegaly", k) | upright
        heart = np.nonzero(chest.render(params, 256)[1].any(0))[0]
        thorax = 2 * (params["uc"] + chest.WIDEST * params["rx"])
        assert (heart[-1] - heart[0] + 1) / 256 / thorax == pytest.approx(params["ctr"], abs=0.015)
        assert params["ctr"] > 0.5
        assert f"{params['ctr']:.2f}" in chest.describe(params).detail[0]
        assert scene("normal", k)["ctr"] < 0.48


@pytest.mark.parametrize("finding", ["effusion", "opacity", "nodule"])
def test_sides_are_those_of_the_patient(finding):
    seen = set()
    for k in range(30):
        params = scene(finding, k) | {"angle": 0.0, "dx": 0.0}
        where = np.nonzero(chest.render(params, 64)[1].any(0))[0].mean()
        words = " ".join(chest.describe(params).place)
        if "right" in words or "left" in words:
            side = "right" if "right" in words else "left"
            assert (where < 31.5) == (side == "right")
            seen.add(side)
    assert seen == {"left", "right"}


def test_nodules_are_as_many_as_told():
    from scipy.ndimage import label

    for k in range(30):
        params = scene("nodule", k)
        assert label(chest.render(params, 256)[1])[1] == chest.describe(params).count == len(params["spots"])


@pytest.mark.parametrize(
    ("finding", "number", "word", "order"),
    [
        ("effusion", "level", "size", ("small", "medium-sized", "large")),
        ("opacity", "severity", "severity", ("mild", "moderate", "severe")),
        ("cardiomegaly", "ctr", "severity", ("mild", "moderate", "severe")),
    ],
)
def test_words_follow_the_parameters(finding, number, word, order):
    scenes = sorted((scene(finding, k) for k in range(60)), key=lambda p: p[number])
    told = [order.index(getattr(chest.describe(p), word)) for p in scenes]
    assert told == sorted(told)
    assert set(told) == {0, 1, 2}


def test_fluid_opacity_and_nodules_absorb():
    for finding in ("effusion", "opacity", "nodule"):
        params = scene(finding, 1) | {"noise": 0.0}
        clear = params | {"finding": "normal", "spots": []}
        image, mask = chest.render(params, 64)
        without = chest.render(clear, 64)[0]
        inside = mask > 0
        assert (image[inside] - without[inside]).mean() > 0.03
        assert (image - without).min() > -1e-5


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_captions_can_be_written(finding, k):
    said = captions.write(chest.describe(scene(finding, k)), chest.NOUNS, np.random.default_rng(k))
    assert len(set(said)) == 6


def test_unknown_finding_is_refused():
    with pytest.raises(KeyError):
        chest.draw(np.random.default_rng(0), "fracture", 0.0)
