"""The dermoscopy phantom obeys its pigments, and what lies on the lens knows no class."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, dermoscopy
from medadv.data.phantoms._lens import lens

FINDINGS = tuple(dermoscopy.PROMPTS)
CASES = [(finding, k) for finding in FINDINGS for k in range(3)]


def scene(finding: str, k: int, tone: float | None = None) -> dict:
    tone = (-0.7, 0.0, 0.7)[k % 3] if tone is None else tone
    return dermoscopy.draw(np.random.default_rng((6, k)), finding, tone)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_picture_and_mask_are_well_formed_and_repeatable(finding, k):
    params = scene(finding, k)
    for size in (32, 64, 96):
        image, mask = dermoscopy.render(params, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert np.isfinite(image).all()
        assert set(np.unique(mask)) == {0.0, 1.0}
        again, same = dermoscopy.render(params, size)
        assert np.array_equal(image, again)
        assert np.array_equal(mask, same)


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_one_scene_at_every_size(finding, k):
    params = scene(finding, k)
    params["lens"]["noise"] = 0.0
    small, mask = dermoscopy.render(params, 64)
    large, wide = dermoscopy.render(params, 256)
    pooled = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), pooled.ravel())[0, 1] > 0.97
    assert abs(small.mean() - pooled.mean()) < 0.02
    assert abs(mask.mean() - wide.mean()) < 0.01


@pytest.mark.parametrize("finding", FINDINGS)
def test_pigmentation_darkens_the_skin_and_keeps_the_finding(finding):
    light, dark = scene(finding, 4, -0.7), scene(finding, 4, 0.7)
    assert dermoscopy.describe(light) == dermoscopy.describe(dark)
    (a, mask), (b, same) = dermoscopy.render(light, 64), dermoscopy.render(dark, 64)
    assert np.array_equal(mask, same)
    skin = mask == 0
    assert a[skin].mean() > b[skin].mean() + 0.05
    # Melanin takes blue before red.
    loss = np.log(a[skin].mean(0) / b[skin].mean(0))
    assert loss[2] > loss[1] > loss[0] > 0


def test_melanoma_is_less_regular_than_naevus():
    rough = {f: np.mean([np.abs(scene(f, k)["modes"]).sum() for k in range(40)]) for f in FINDINGS}
    assert rough["melanoma"] > 2 * rough["naevus"]
    for k in range(40):
        params = scene("melanoma", k)
        assert len(params["blobs"]) >= 2
        assert params["veil"] or params["scar"] or params["streaks"] or params["net"] > 0.2
        assert len(scene("keratosis", k)["cysts"]) >= 2
        assert scene("keratosis", k)["edge"] < 0.08
        assert not len(scene("naevus", k)["cysts"])


def test_lens_is_drawn_without_the_finding():
    # The shares of hairs, bubbles, corners and rulers are the same whatever is on the skin.
    for finding in FINDINGS:
        made = [scene(finding, k)["lens"] for k in range(300)]
        assert 0.4 < np.mean([len(m["hairs"]) > 0 for m in made]) < 0.6
        assert 0.25 < np.mean([len(m["bubbles"]) > 0 for m in made]) < 0.45
        assert 0.2 < np.mean([m["corners"] > 0 for m in made]) < 0.4
        assert 0.15 < np.mean([m["ruler"] is not None for m in made]) < 0.35
    assert lens(np.random.default_rng(0)).keys() == made[0].keys()


def test_words_follow_the_parameters():
    for finding in FINDINGS:
        for k in range(40):
            params = scene(finding, k)
            facts, place = dermoscopy.describe(params), params["place"]
            assert ("right" in facts.place[0]) == (place["cx"] > 0.6)
            assert ("lower" in facts.place[0]) == (place["cy"] > 0.6)
            assert (facts.size == "small") == (place["radius"] < 0.225)
            assert ("a blue-grey veil" in facts.detail) == (params["veil"] > 0)
            assert finding not in facts.absent


@pytest.mark.parametrize(("finding", "k"), CASES)
def test_captions_are_many_and_name_no_attribute(finding, k):
    said = captions.write(dermoscopy.describe(scene(finding, k)), dermoscopy.NOUNS, np.random.default_rng(k))
    assert len(set(said)) == 6
    words = {word.strip(".,") for text in said for word in text.lower().split()}
    assert not words & {"male", "female", "man", "woman", "old", "fair", "light", "dark-skinned", "pigmented"}
