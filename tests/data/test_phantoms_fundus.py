"""The fundus phantom: what is drawn, what is said, and the physics between them."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, fundus

FINDINGS = tuple(fundus.PROMPTS)


def _scene(finding: str, i: int, tone: float = 0.0) -> dict:
    return fundus.draw(np.random.default_rng((11, i)), finding, tone)


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    side = len(image) // factor
    return image.reshape(side, factor, side, factor, -1).mean((1, 3))


@pytest.mark.parametrize("size", [32, 64, 129])
@pytest.mark.parametrize("finding", FINDINGS)
def test_picture_and_mask_are_what_the_contract_says(finding: str, size: int) -> None:
    for i in range(4):
        scene = _scene(finding, i)
        image, mask = fundus.render(scene, size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.float32
        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.any() == (finding != "normal")
        again, _ = fundus.render(scene, size)
        np.testing.assert_array_equal(image, again)


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_scene_is_the_same_at_every_size(finding: str) -> None:
    for i in range(4):
        scene = _scene(finding, i)
        small, large = fundus.render(scene, 64)[0], fundus.render(scene, 256)[0]
        assert np.corrcoef(small.ravel(), _shrink(large, 4).ravel())[0, 1] > 0.97


@pytest.mark.parametrize("finding", FINDINGS)
def test_captions_can_be_written_and_tell_the_truth(finding: str) -> None:
    for i in range(60):
        scene = _scene(finding, i)
        facts = fundus.describe(scene)
        said = captions.write(facts, fundus.NOUNS, np.random.default_rng(i))
        assert len(set(said)) >= 5
        assert facts.positive == (finding != "normal")
        # The disc lies on the side of the nose: right in a right eye. Nothing else tells left from right.
        assert scene["right"] == (scene["disc"][0] > 0.5)
        if finding in ("normal", "glaucoma"):
            assert ("right" in facts.place[0]) == scene["right"]
            continue
        assert facts.count == len(scene["lesions"])
        x, y = scene["centre"]
        where = facts.place[0]
        assert ("left" in where) == (x < 0.5)
        assert ("upper" in where) == (y < 0.5)
        assert ("temporal" in facts.place[1]) == ((x < 0.5) == scene["right"])


def test_cup_to_disc_ratio_separates_glaucoma() -> None:
    for i in range(60):
        assert _scene("glaucoma", i)["ratio"] >= 0.65
        assert all(_scene(other, i)["ratio"] <= 0.5 for other in FINDINGS if other != "glaucoma")


def test_glaucoma_mask_is_the_cup_as_tall_as_the_ratio_says() -> None:
    for i in range(8):
        scene = _scene("glaucoma", i)
        _, mask = fundus.render(scene, 256)
        rows = np.flatnonzero(mask.any(1))
        tall = (rows[-1] - rows[0] + 1) / 256
        assert tall == pytest.approx(2 * scene["ratio"] * scene["radius"], rel=0.06)


def test_lesions_keep_off_the_disc_and_inside_the_picture() -> None:
    for finding in ("haemorrhages", "exudates"):
        for i in range(60):
            scene = _scene(finding, i)
            away = np.hypot(*(scene["lesions"][:, :2] - scene["disc"]).T)
            assert (away > scene["radius"]).all()
            assert (np.hypot(*(scene["lesions"][:, :2] - 0.5).T) < 0.45).all()


@pytest.mark.parametrize(("finding", "darker"), [("haemorrhages", True), ("exudates", False)])
def test_bleedings_absorb_green_and_deposits_reflect_it(finding: str, darker: bool) -> None:
    for i in range(8):
        scene = _scene(finding, i)
        image, mask = fundus.render(scene, 128)
        bare = {**scene, "lesions": scene["lesions"][:0]}
        without, _ = fundus.render(bare, 128)
        change = (image - without)[mask > 0][:, 1].mean()
        assert change < -0.03 if darker else change > 0.03
        np.testing.assert_allclose(image[without.sum(2) < 0.01], without[without.sum(2) < 0.01], atol=0.02)


def test_pigment_darkens_the_fundus_and_leaves_the_finding_alone() -> None:
    for finding in FINDINGS:
        light, dark = _scene(finding, 5, -0.7), _scene(finding, 5, 0.7)
        assert fundus.render(light, 64)[0].mean() > fundus.render(dark, 64)[0].mean()
        assert fundus.describe(light) == fundus.describe(dark)
        np.testing.assert_array_equal(fundus.render(light, 64)[1], fundus.render(dark, 64)[1])
