"""What the notebooks of the third chapter compute, on worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medadv
from medadv.attacks.candidates import Edit, misspellings, synonyms
from medadv.attacks.multimodal import separate
from medadv.course.ch03 import helpers, pitfalls, plots, toy
from medadv.course.figures import Figure, show
from medadv.data.text_labels import phantom_meaning
from medadv.data.tidy import cache
from medadv.models import image_features, text_features
from medadv.reports.retrieval import under_attack
from medadv.threat import Threat

RINGS = ("sum", "phone", "set")


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(24, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def vlm():
    return medadv.load("tiny", device="cpu")


def _everything(world, *, image, text):
    """Try half degrees and all words: the brute force beside which `exact` stands."""
    swaps = world.swaps or ((),) * len(world.own)
    grid = np.arange(-2 * world.reach, 2 * world.reach + 1) / 2 + world.image if image else [world.image]
    choices = [(0.0, *w) if text else (0.0,) for w in swaps]
    words = [[]]
    for choice in choices:
        words = [[*done, turn] for done in words for turn in choice]
    return min(toy.gap(world, float(x), tuple(turns)) for x in grid for turns in words)


@pytest.mark.parametrize("kind", RINGS)
@pytest.mark.parametrize(("image", "text"), [(True, True), (True, False), (False, True)])
def test_the_exact_attack_is_the_best_of_all(kind, image, text):
    world = toy.ring(kind)
    assert toy.exact(world, image=image, text=text).gap == pytest.approx(_everything(world, image=image, text=text))


@pytest.mark.parametrize("seed", range(6))
def test_exact_on_drawn_rings(seed):
    draw = np.random.default_rng(seed)
    own, other = (tuple(draw.integers(-180, 180, size=n).tolist()) for n in (2, 3))
    world = toy.Ring(0, own, other, 45, ((20.0, -15.0), (30.0,)))
    best = toy.exact(world)
    assert best.gap <= _everything(world, image=True, text=True) + 1e-9
    assert best.gap == pytest.approx(toy.gap(world, best.image, best.turns))
    for other_move in (toy.separately(world), toy.in_turn(world), toy.in_turn(world, whole_set=False)):
        assert other_move.gap >= best.gap - 1e-9
        assert toy.distance(other_move.image, world.image) <= world.reach + 1e-9


def test_the_image_step_is_the_minimum_of_the_mean_cosine():
    for guides in ((-10, 25, 35), (100, 170), (0,), (180, 175)):
        world = toy.ring("set")._replace(own=guides)
        grid = np.linspace(-world.reach, world.reach, 2001)
        cosine = np.cos(np.deg2rad(grid[:, None] - np.array(guides))).sum(1)
        found = np.cos(np.deg2rad(toy.away(world, guides) - np.array(guides))).sum()
        assert found == pytest.approx(cosine.min(), abs=1e-6)


def test_the_three_rings_tell_what_the_lesson_says():
    world = toy.ring("sum")
    assert toy.exact(world, text=False).found
    assert toy.exact(world, image=False).found
    assert not toy.exact(world).found
    world = toy.ring("phone")
    assert toy.separately(world).gap > toy.exact(world, text=False).gap
    assert toy.in_turn(world) == toy.exact(world)
    world = toy.ring("set")
    assert toy.in_turn(world, whole_set=False).found
    assert not toy.in_turn(world).found
    assert toy.clean(world).gap == 100


def test_remembered_asks_once():
    asked = []

    def encode(text):
        asked.extend(text)
        return torch.tensor([[float(len(one))] for one in text])

    look = helpers.remembered(encode)
    assert look(["a", "bb", "a"]).flatten().tolist() == [1, 2, 1]
    assert look(["bb", "ccc"]).flatten().tolist() == [2, 3]
    assert asked == ["a", "bb", "ccc"]


def test_captions_of(pairs):
    text, owner = helpers.captions_of(pairs, each=2)
    assert len(text) == len(owner) == 48
    assert text[2 * 7 + 1] == pairs.rows[7].captions[1]
    assert owner[15] == 7
    with pytest.raises(ValueError, match=r"'each' parameter of captions_of"):
        helpers.captions_of(pairs, each=99)


def test_farthest_keeps_the_rules_or_not(vlm, pairs):
    text, _ = helpers.captions_of(pairs.select(range(6)), each=2)
    base = text_features(vlm, text)
    slip = helpers.farthest(vlm, text, misspellings(each=2))
    assert all(len(edit) == 1 for edit in slip.edits)
    assert not pitfalls.changed_meaning(text, slip).any()
    assert (helpers.degrees(base, text_features(vlm, slip.text)) > 1).all()
    assert helpers.farthest(vlm, text, pitfalls.opposites()).text == text
    wild = helpers.farthest(vlm, text, pitfalls.opposites(), rules=False)
    assert pitfalls.changed_meaning(text, wild).sum() == sum(bool(edit) for edit in wild.edits) > 0
    lines = helpers.edits_table(text, slip, [0, 1])
    assert slip.edits[0][0][2] in lines[0]


def test_misread_counts_the_images_that_a_prompt_loses():
    feature = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 1]), 3).float()
    label = torch.tensor([0, 0, 1, 1, 1])
    prompt = torch.eye(3)[:2]
    want = helpers.misread(feature, label, prompt)
    score = want(prompt)
    assert score.loss.tolist() == [-1, -1]
    assert not score.won.any()
    score = want(torch.eye(3)[[2, 1]])
    assert score.loss.tolist() == [0, -1]
    assert score.won.tolist() == [True, False]
    assert want.keep(torch.tensor([1]))(torch.eye(3)[[0]]).won.tolist() == [True]
    with pytest.raises(ValueError, match="class 1 has no image"):
        helpers.misread(feature, label * 0, prompt)


def test_off_by_one_moves_every_candidate_to_the_next_word():
    text = ["The film shows the border."]
    right = synonyms()(text)[0]
    moved = pitfalls.off_by_one(synonyms())(text)[0]
    assert Edit(1, "radiograph") in right
    assert Edit(2, "radiograph") in moved
    assert {edit.position for edit in right} == {1, 2, 4}
    assert {edit.position for edit in moved} == {2, 3}  # the last word has no next one


def test_opposites_are_other_diagnoses():
    caption = "A chest radiograph showing a mild opacity in the left lower zone."
    from medadv._words import put_word

    edits = pitfalls.opposites()([caption])[0]
    assert len(edits) >= 5
    for edit in edits:
        assert phantom_meaning(put_word(caption, edit.position, edit.word)) != phantom_meaning(caption)


def test_success_and_worst():
    clean = torch.tensor([True, True, True, False, False])
    after = torch.tensor([True, False, False, True, False])
    assert pitfalls.success(clean, after) == {"drop": pytest.approx(0.2), "lost": pytest.approx(2 / 3)}
    assert pitfalls.worst(clean, after).value == 0.2


def test_hits_agree_with_the_report(vlm, pairs):
    image = pairs.batch(range(len(pairs))).image
    text, owner = helpers.captions_of(pairs, each=2)

    def words(want, texts):
        return helpers.swap_words(want, texts, helpers.TextThreat(1), encode=vlm.encode_text, sources=synonyms())

    done = separate(vlm, image, text, Threat.parse("linf:1/255"), text_attack=words, owner=owner, steps=2)
    report = under_attack(vlm, image, text, {"separate": done}, owner=owner, k=(1,), n=50)
    seen, told = image_features(vlm, image), text_features(vlm, text)
    found = pitfalls.hits(seen, told, owner, wording=text)
    strict = pitfalls.hits(seen, told, owner)
    shown = helpers.recalls(report, "separate")
    assert list(shown) == ["nothing", "image", "text", "both", "worst"]
    for way, name in (("i2t", "image to text"), ("t2i", "text to image")):
        assert shown["nothing"][name].value == pytest.approx(float(found[way].double().mean()))
        assert strict[way].sum() <= found[way].sum()
    twice = pitfalls.counted(seen, told, owner, text)
    assert [e.value for e in twice.values()] == pytest.approx(
        [float(h["t2i"].double().mean()) for h in (found, strict)]
    )


def test_linear_reader_reads_new_phantoms():
    reader = helpers.LinearReader(cache(medadv.phantoms(400, size=32), progress=False), width=24)
    new = cache(medadv.phantoms(50, start=1_000_000, size=32), progress=False)
    text, owner = helpers.captions_of(new, each=3)
    seen, told = image_features(reader, new.batch(range(50)).image), text_features(reader, text)
    assert seen.shape == (50, 24)
    assert torch.allclose(told.norm(dim=1), torch.ones(150), atol=1e-5)
    found = pitfalls.hits(seen, told, owner, wording=text, k=5)
    assert all(hit.double().mean() > 0.3 for hit in found.values())  # by chance one in ten


def test_drawings():
    world = toy.ring("sum")
    moves = {"clean": toy.clean(world), "both": toy.exact(world)}
    said = plots.say(moves)
    assert "clean leaves 90 degrees, found; both leaves -20 degrees, lost" in said
    found = {"a": torch.tensor([1.0, 2, 9]), "b": torch.tensor([5.0, 7])}
    assert plots.medians(found) == "Medians in degrees: a 2, b 6."
    for picture in (plots.rings(world, moves), plots.spreads(found, xlabel="x", alone=("b",))):
        assert isinstance(show(picture, alt=said), Figure)
