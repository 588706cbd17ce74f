"""The ultrasound phantom: speckle, shadow and enhancement as physics has them, and words that are true."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, ultrasound

CASES = [(finding, k) for finding in ultrasound.PROMPTS for k in range(6)]


def scene(finding: str, k: int) -> dict:
    return ultrasound.draw(np.random.default_rng((12, k)), finding, (-0.7, 0.0, 0.7)[k % 3])


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_picture_and_mask_are_well_formed_and_repeatable(finding, k):
    params = scene(finding, k)
    for size in (32, 64):
        image, mask = ultrasound.render(params, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert np.isfinite(image).all()
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.any() == (finding != "normal")
        again, same = ultrasound.render(params, size)
        assert np.array_equal(image, again)
        assert np.array_equal(mask, same)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_one_scene_at_every_size(finding, k):
    params = scene(finding, k)
    small, mask = ultrasound.render(params, 64)
    large, wide = ultrasound.render(params, 256)
    pooled = large[..., 0].reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(small[..., 0].ravel(), pooled.ravel())[0, 1] > 0.9
    assert abs(mask.mean() - wide.mean()) < 0.01


def test_gain_changes_the_picture_and_not_the_finding():
    dark, light = (ultrasound.draw(np.random.default_rng(3), "benign", tone) for tone in (-0.7, 0.7))
    assert ultrasound.describe(dark) == ultrasound.describe(light)
    images = [ultrasound.render(p, 64) for p in (dark, light)]
    assert np.array_equal(images[0][1], images[1][1])
    assert images[0][0].mean() < images[1][0].mean()


def test_benign_is_wider_than_tall_and_malignant_taller_than_wide():
    for finding, wider in (("benign", True), ("malignant", False)):
        for k in range(20):
            params = scene(finding, k)
            params["mass"] = params["mass"] | {"x": 0.5, "y": 0.5, "angle": 0.0}
            mask = ultrasound.render(params, 128)[1]
            width, height = np.count_nonzero(mask.any(0)), np.count_nonzero(mask.any(1))
            assert (width > height) == wider


def test_shadow_and_enhancement_lie_below_the_mass_and_nowhere_else():
    for finding, sign in (("benign", 1), ("malignant", -1)):
        for k in range(10):
            params = scene(finding, k) | {"noise": 0.0}
            image, mask = ultrasound.render(params, 128)
            near = params["mass"]
            quiet = params | {"mass": near | {"loss": 0.0}}
            change = (image - ultrasound.render(quiet, 128)[0])[..., 0]
            below = (np.cumsum(mask, 0) > 8) & (mask == 0)
            assert change[below].mean() * sign > 0.01
            far = abs((np.arange(128) + 0.5) / 128 - near["x"]) > 2 * max(near["rx"], near["ry"])
            assert not change[:, far].any()


def test_mass_is_darker_than_the_gland_would_be():
    for finding in ("benign", "malignant"):
        for k in range(10):
            params = scene(finding, k)
            image, mask = ultrasound.render(params, 64)
            gland = ultrasound.render(params | {"mass": None}, 64)[0]
            assert image[mask > 0].mean() < gland[mask > 0].mean()


def test_speckle_is_rayleigh_before_compression():
    # A Rayleigh amplitude has a ratio of mean to standard deviation of 1.91.
    from medadv.data.phantoms._canvas import grain, smooth

    field = grain(5, 96, 2)
    amplitude = np.hypot(smooth(field[:, :64, 0], 96), smooth(field[:, :64, 1], 96))
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.91, abs=0.12)


def test_places_are_true():
    for k in range(40):
        params = scene(("benign", "malignant")[k % 2], k)
        centre = np.argwhere(ultrasound.render(params, 128)[1]).mean(0) / 128
        words = ultrasound.describe(params).place[0]
        if "left" in words:
            assert centre[1] < 0.45
        elif "right" in words:
            assert centre[1] > 0.55
        else:
            assert 0.35 < centre[1] < 0.65


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_captions_can_be_written(finding, k):
    said = captions.write(ultrasound.describe(scene(finding, k)), ultrasound.NOUNS, np.random.default_rng(k))
    assert len(set(said)) == 6


def test_unknown_finding_is_refused():
    with pytest.raises(KeyError):
        ultrasound.draw(np.random.default_rng(0), "cyst", 0.0)
