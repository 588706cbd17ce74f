"""What the notebooks of the first chapter compute, on worlds where the answer is known."""

from __future__ import annotations

import pytest
import torch

import medadv
from medadv.course.ch01 import helpers, pitfalls, plots, toy
from medadv.course.figures import Figure, show
from medadv.data.tidy import cache
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
    rows = helpers.one_of_each(pairs)
    assert pairs.labels[rows].tolist() == list(range(20))
    assert all(i == int((pairs.labels == k).nonzero()[0]) for k, i in enumerate(rows))
    with pytest.raises(ValueError, match=r"'pairs' parameter of one_of_each"):
        helpers.one_of_each(pairs.select([0, 1]))


def test_no_real_images_without_data(monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert helpers.real_beside().startswith("MEDADV_DATA is not set")


def test_real_images_are_shown_where_they_are(real_data, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(real_data))
    assert helpers.real_beside(n=2).html.count("<img") == 6


def test_wordings(pairs):
    found = helpers.wordings()
    assert found["image and finding"] == pairs.prompts
    assert found["finding alone"] == tuple(name.split("/")[1] for name in pairs.classes)
    assert all(len(phrases) == 20 for phrases in found.values())
    assert sum(a != b for a, b in zip(found["another word for the image"], pairs.prompts, strict=True)) > 15


def test_captions_of_one_image_lie_together(pairs):
    spread = helpers.caption_spread(medadv.load("tiny", device="cpu"), pairs.select(range(60)))
    assert next(iter(spread)) == "captions of one image"
    assert spread["captions of one image"] > spread["captions of other kinds of images"]
    assert "Mean 1.00 between" in helpers.blocks(torch.eye(2).repeat_interleave(3, 0), 3)


def test_within_modality_and_elsewhere(pairs):
    assert pitfalls.elsewhere(sure(pairs), pairs) == 0
    far = pitfalls.elsewhere(sure(pairs, 10), pairs)
    assert far == 1  # no modality has more than five classes
    inside = pitfalls.within_modality(sure(pairs, 10), pairs)
    own = [pairs.domains[k] for k in pairs.labels.tolist()]
    assert [pairs.domains[k] for k in inside.argmax(1).tolist()] == own
    assert torch.isfinite(inside).sum(1).tolist() == [pairs.domains.count(name) for name in own]


def test_by_modality_and_groups(pairs):
    half = torch.where((pairs.labels < 5)[:, None], sure(pairs), sure(pairs, 1))
    found = pitfalls.by_modality(half, pairs)
    assert found["chest"].value == 1
    assert found["fundus"].value == 0
    assert sum(e.n for e in found.values()) == len(pairs)
    report = pitfalls.group_report(sure(pairs), pairs)
    assert [row["group"] for row in report.rows][:2] == ["female", "male"]
    assert report["sex", "female"].n + report["sex", "male"].n == len(pairs)


def test_noise(image):
    shaken = pitfalls.noisy(image[:8], 0.05, seed=3)
    assert torch.equal(shaken, pitfalls.noisy(image[:8], 0.05, seed=3))
    assert torch.equal(image[:8], pitfalls.noisy(image[:8], 0))
    assert 0 <= shaken.min() <= shaken.max() <= 1
    middle = (image[:8] > 0.3) & (image[:8] < 0.7)
    assert float((shaken - image[:8])[middle].std()) == pytest.approx(0.05, rel=0.05)


def test_climb_reaches_the_corner_of_a_linear_loss():
    weight = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    image, label = torch.full((3, 3, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    want, threat = classify(lambda x: x.flatten(1) @ weight.T, label), Threat.parse("linf:8/255")
    moved = pitfalls.climb(want, image, threat, steps=2)
    corner = 0.5 + threat.eps * (weight[1] - weight[0]).sign().view(3, 2, 2)
    assert torch.allclose(moved, corner.expand_as(moved))
    with pytest.raises(ValueError, match="normalise"):
        pitfalls.climb(want, image * 4, threat)


def test_attacked_leaves_the_model_alone(pairs, image):
    vlm = medadv.load("tiny", device="cpu")
    head = ZeroShot.from_prompts(vlm, pairs.prompts).train()
    found = pitfalls.attacked(head, image[:6], pairs.labels[:6], ["linf:1/255", "linf:2/255"], batch_size=4)
    assert head.training
    assert all(p.grad is None for p in vlm.parameters())
    for text, (moved, output) in found.items():
        assert output.shape == (6, 20)
        assert Threat.parse(text).size(moved, image[:6]).max() <= Threat.parse(text).eps + 1e-6


def test_plots(pairs, image):
    pictures = [plots.confusions(sure(pairs), pairs), plots.strip(image[:3])]
    assert all(isinstance(show(picture, alt="A drawing."), Figure) for picture in pictures)
    assert plots.diagonal(sure(pairs), pairs).startswith("chest/normal 100, chest/opacity 100")
    assert plots.strip(image[:3]).shape == (3, 64, 3 * 64 + 4)


def test_plots_of_the_toy():
    world = toy.chest_world()
    heat = plots.heat(toy.pmi(world.joint), world.images, world.captions, title="scores")
    fit = toy.fit_vectors(world.joint, steps=2, keep=(2,))
    circle = plots.circle(fit.path[0][1], fit.path[0][2], world.images, world.captions)
    for canvas in (heat, circle):
        assert len(show(canvas, alt="A drawing.").html) > 2000


def test_in_colour_is_the_same_for_a_turned_space():
    feature = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [9.0, 5, 3, 0.1, 0.1, 0.1]
    ).view(6, 1, 1)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    shown = plots.in_colour(feature)
    assert shown.shape == (3, 4, 4)
    assert shown.min() == 0
    assert shown.max() == 1
    assert torch.allclose(shown, plots.in_colour((turn @ feature.flatten(1)).view_as(feature)), atol=1e-4)
    assert torch.isfinite(plots.in_colour(torch.zeros(5, 4, 4))).all()
