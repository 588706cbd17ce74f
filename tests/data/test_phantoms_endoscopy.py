"""The endoscopy phantom: what is drawn, what is said, and the light between them."""

from __future__ import annotations

import numpy as np
import pytest

from medadv.data.phantoms import captions, endoscopy

FINDINGS = tuple(endoscopy.PROMPTS)


def _scene(finding: str, i: int, tone: float = 0.0) -> dict:
    return endoscopy.draw(np.random.default_rng((13, i)), finding, tone)


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    side = len(image) // factor
    return image.reshape(side, factor, side, factor, -1).mean((1, 3))


@pytest.mark.parametrize("size", [32, 64, 129])
@pytest.mark.parametrize("finding", FINDINGS)
def test_picture_and_mask_are_what_the_contract_says(finding: str, size: int) -> None:
    for i in range(6):
        scene = _scene(finding, i)
        image, mask = endoscopy.render(scene, size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.float32
        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.any() == (finding == "polyp")
        again, _ = endoscopy.render(scene, size)
        np.testing.assert_array_equal(image, again)


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_scene_is_the_same_at_every_size(finding: str) -> None:
    for i in range(6):
        scene = _scene(finding, i)
        small, large = endoscopy.render(scene, 64)[0], endoscopy.render(scene, 256)[0]
        assert np.corrcoef(small.ravel(), _shrink(large, 4).ravel())[0, 1] > 0.96


def test_captions_can_be_written_and_tell_the_truth() -> None:
    for i in range(80):
        for finding in FINDINGS:
            scene = _scene(finding, i)
            facts = endoscopy.describe(scene)
            assert len(set(captions.write(facts, endoscopy.NOUNS, np.random.default_rng(i)))) >= 5
            assert facts.positive == (finding == "polyp")
            if not facts.positive:
                continue
            assert facts.count == len(scene["polyps"])
            assert (facts.size == "large") == all(polyp["radius"] >= 0.12 for polyp in scene["polyps"])
            if facts.count > 1:
                continue
            assert ("pedunculated" in facts.finding[2]) == scene["polyps"][0]["stalk"]
            # The hour read off the picture: twelve is up, and the hours run clockwise.
            dx, dy = scene["polyps"][0]["at"] - 0.5
            hour = round(float(np.degrees(np.arctan2(dx, -dy))) / 30) % 12 or 12
            assert facts.place[1] == f"at {hour} o'clock"
            assert not ("upper" in facts.place[0] and dy > 0)
            assert not ("left" in facts.place[0] and dx > 0)


def test_mask_lies_where_the_polyps_are() -> None:
    for i in range(30):
        scene = _scene("polyp", i)
        _, mask = endoscopy.render(scene, 128)
        at = (np.stack([polyp["at"] for polyp in scene["polyps"]]) * 128).astype(int)
        assert mask[at[:, 1], at[:, 0]].all()
        discs = sum(np.pi * q["radius"] ** 2 * q["squash"] for q in scene["polyps"])
        assert 0.7 * discs < mask.mean() < 2.2 * discs


def test_domes_are_brighter_towards_the_lamp() -> None:
    brighter = 0
    for i in range(24):
        scene = _scene("polyp", i)
        polyp = scene["polyps"][0]
        calm = {"polyps": [polyp], "lights": scene["lights"][:0], "bubbles": scene["bubbles"][:0]}
        image, _ = endoscopy.render({**scene, **calm, "noise": 0.0, "box": False}, 128)
        ends = [polyp["at"] + sign * 0.45 * polyp["radius"] * scene["lamp"] for sign in (1, -1)]
        lit, dark = (image[int(y * 128), int(x * 128)].sum() for x, y in ends)
        brighter += lit > dark
    # Not all: the wall behind, a fold's shadow or the lumen, shows in the level of the dome.
    assert brighter >= 18


def test_gain_brightens_and_leaves_the_finding_alone() -> None:
    for finding in FINDINGS:
        low, high = _scene(finding, 3, -0.7), _scene(finding, 3, 0.7)
        assert endoscopy.render(low, 64)[0].mean() < endoscopy.render(high, 64)[0].mean()
        assert endoscopy.describe(low) == endoscopy.describe(high)
        np.testing.assert_array_equal(endoscopy.render(low, 64)[1], endoscopy.render(high, 64)[1])
