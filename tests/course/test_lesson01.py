"""What the notebooks of the first chapter compute, on worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medadv
from medadv.course import drawings01, honest01, lesson01, trivial
from medadv.course.figures import Figure, show
from medadv.data.tidy import cache
from medadv.evaluate.metrics import wilson
from medadv.models import ZeroShot
from medadv.objective import classify
from medadv.threat import Threat


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(160, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def image(pairs):
    return pairs.batch(range(len(pairs))).image


def sure(pairs, shift=0):
    """Logits that say the class `shift` further on."""
    return 9.0 * torch.nn.functional.one_hot((pairs.labels + shift) % len(pairs.classes), len(pairs.classes)).float()


def test_one_of_each(pairs):
    rows = lesson01.one_of_each(pairs)
    assert pairs.labels[rows].tolist() == list(range(20))
    assert all(i == int((pairs.labels == k).nonzero()[0]) for k, i in enumerate(rows))
    with pytest.raises(ValueError, match=r"'pairs' parameter of one_of_each"):
        lesson01.one_of_each(pairs.select([0, 1]))


def test_no_real_images_without_data(monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert lesson01.real_beside().startswith("MEDADV_DATA is not set")


def test_real_images_are_shown_where_they_are(real_data, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(real_data))
    assert lesson01.real_beside(n=2).html.count("<img") == 6


def test_wordings(pairs):
    found = lesson01.wordings()
    assert found["image and finding"] == pairs.prompts
    assert found["finding alone"] == tuple(name.split("/")[1] for name in pairs.classes)
    assert all(len(phrases) == 20 for phrases in found.values())
    assert sum(a != b for a, b in zip(found["another word for the image"], pairs.prompts, strict=True)) > 15


def test_captions_of_one_image_lie_together(pairs):
    spread = lesson01.caption_spread(medadv.load("tiny", device="cpu"), pairs.select(range(60)))
    assert next(iter(spread)) == "captions of one image"
    assert spread["captions of one image"] > spread["captions of other kinds of images"]
    assert "Mean 1.00 between" in lesson01.blocks(torch.eye(2).repeat_interleave(3, 0), 3)


def test_within_modality_and_elsewhere(pairs):
    assert honest01.elsewhere(sure(pairs), pairs) == 0
    far = honest01.elsewhere(sure(pairs, 10), pairs)
    assert far == 1  # no modality has more than five classes
    inside = honest01.within_modality(sure(pairs, 10), pairs)
    own = [pairs.domains[k] for k in pairs.labels.tolist()]
    assert [pairs.domains[k] for k in inside.argmax(1).tolist()] == own
    assert torch.isfinite(inside).sum(1).tolist() == [pairs.domains.count(name) for name in own]


def test_by_modality_and_groups(pairs):
    half = torch.where((pairs.labels < 5)[:, None], sure(pairs), sure(pairs, 1))
    found = honest01.by_modality(half, pairs)
    assert found["chest"].value == 1
    assert found["fundus"].value == 0
    assert sum(e.n for e in found.values()) == len(pairs)
    report = honest01.group_report(sure(pairs), pairs)
    assert [row["group"] for row in report.rows][:2] == ["female", "male"]
    assert report["sex", "female"].n + report["sex", "male"].n == len(pairs)


def test_noise(image):
    shaken = honest01.noisy(image[:8], 0.05, seed=3)
    assert torch.equal(shaken, honest01.noisy(image[:8], 0.05, seed=3))
    assert torch.equal(image[:8], honest01.noisy(image[:8], 0))
    assert 0 <= shaken.min() <= shaken.max() <= 1
    middle = (image[:8] > 0.3) & (image[:8] < 0.7)
    assert float((shaken - image[:8])[middle].std()) == pytest.approx(0.05, rel=0.05)


def test_climb_reaches_the_corner_of_a_linear_loss():
    weight = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    image, label = torch.full((3, 3, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    want, threat = classify(lambda x: x.flatten(1) @ weight.T, label), Threat.parse("linf:8/255")
    moved = honest01.climb(want, image, threat, steps=2)
    corner = 0.5 + threat.eps * (weight[1] - weight[0]).sign().view(3, 2, 2)
    assert torch.allclose(moved, corner.expand_as(moved))
    with pytest.raises(ValueError, match="normalise"):
        honest01.climb(want, image * 4, threat)


def test_attacked_leaves_the_model_alone(pairs, image):
    vlm = medadv.load("tiny", device="cpu")
    head = ZeroShot.from_prompts(vlm, pairs.prompts).train()
    found = honest01.attacked(head, image[:6], pairs.labels[:6], ["linf:1/255", "linf:2/255"], batch_size=4)
    assert head.training
    assert all(p.grad is None for p in vlm.parameters())
    for text, (moved, output) in found.items():
        assert output.shape == (6, 20)
        assert Threat.parse(text).size(moved, image[:6]).max() <= Threat.parse(text).eps + 1e-6


def test_trivial_views(image):
    assert trivial.mean_colour(torch.full((2, 3, 8, 8), 0.25)).tolist() == [[0.25] * 3] * 2
    assert trivial.small_pixels(image[:4]).shape == (4, 3072)
    view = trivial.colour_texture(image[:4])
    assert view.shape == (4, 2 * 6 * 5)
    assert torch.isfinite(view).all()
    flat = trivial.colour_texture(torch.full((1, 3, 16, 16), 0.5)).view(2, 6, 5)
    assert torch.allclose(flat[:, :3], torch.full((2, 3, 5), 0.5))
    assert flat[:, 3:].abs().max() < 1e-6  # no saturation, no edges


@pytest.mark.parametrize("fit", [trivial.fit_linear, lambda *a, **k: trivial.fit_forest(*a, trees=20, **k)])
def test_trivial_classifiers(fit):
    draw = np.random.default_rng(0)
    label = torch.from_numpy(draw.integers(2, size=80)) * 2  # class 1 of three is absent
    feature = torch.from_numpy(draw.normal(size=(80, 3))).float() + label[:, None]
    output = fit(feature, label, feature, classes=3)
    assert output.shape == (80, 3)
    assert (output.argmax(1) == label).float().mean() > 0.9
    assert (output[:, 1] == -20).all()


def test_drawings(pairs, image):
    found = {"a": {"x": wilson(8, 10), "y": wilson(2, 10)}, "b": {"x": wilson(5, 10), "y": wilson(0, 10)}}
    said = drawings01.say(found)
    assert said == "X in percent: a 80, b 50. Y in percent: a 20, b 0."
    logits = sure(pairs)[0]
    true = int(pairs.labels[0])
    spoken = drawings01.read_aloud(logits, pairs.classes, true=true)
    assert spoken.endswith("which is right.")
    assert f"the truth being {pairs.classes[true - 1]}" in drawings01.read_aloud(logits, pairs.classes, true=true - 1)
    pictures = [
        drawings01.bars(found, chance=0.5),
        drawings01.curves([1, 2], {"a": [wilson(1, 2), wilson(2, 2)]}, xlabel="x"),
        drawings01.confusions(sure(pairs), pairs),
        drawings01.reading([image[0], image[1]], ["one", "two"], logits, pairs.classes, true=true),
        drawings01.strip(image[:3]),
        drawings01.amplified(image[0], image[1]),
    ]
    assert all(isinstance(show(picture, alt=said), Figure) for picture in pictures)
    assert drawings01.diagonal(sure(pairs), pairs).startswith("chest/normal 100, chest/opacity 100")
    assert drawings01.strip(image[:3]).shape == (3, 64, 3 * 64 + 4)


def test_in_colour_is_the_same_for_a_turned_space():
    feature = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [9.0, 5, 3, 0.1, 0.1, 0.1]
    ).view(6, 1, 1)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    shown = drawings01.in_colour(feature)
    assert shown.shape == (3, 4, 4)
    assert shown.min() == 0
    assert shown.max() == 1
    assert torch.allclose(shown, drawings01.in_colour((turn @ feature.flatten(1)).view_as(feature)), atol=1e-4)
    assert torch.isfinite(drawings01.in_colour(torch.zeros(5, 4, 4))).all()
