"""What every attack on pairs keeps: ball, box, budget of words, modes, random streams, and who belongs to whom."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from pairs_world import SmallVLM, SwapLetters, Words, pairs_data

from medadv.attacks.multimodal import co_attack, separate, sga
from medadv.threat import TextThreat, Threat

ATTACKS = {
    "separate": separate,
    "co_attack": co_attack,
    "co_attack together": partial(co_attack, together=True),
    "sga": sga,
    "sga one scale": partial(sga, scales=()),
}
each = pytest.mark.parametrize("name", ATTACKS)


def run(name, vlm, data, threat="linf:8/255", words=1, **how):
    image, text, owner = data
    gen = torch.Generator().manual_seed(0)
    attack = how.pop("text_attack", None) or SwapLetters(vlm, words)
    how = {"steps": 3, "owner": owner, "generator": gen, **how}
    return ATTACKS[name](vlm, image, text, Threat.parse(threat), text_attack=attack, **how)


@each
@pytest.mark.parametrize("threat", ["linf:8/255", "l2:0.5", "l1:5", "linf:8/255:grey", "l2:0.5:grey"])
def test_inside_ball_box_and_budget(name, threat):
    data = pairs_data(grey="grey" in threat, captions=2)
    got, limit = run(name, SmallVLM(), data, threat), Threat.parse(threat)
    image, text, _ = data
    assert got.image.shape == image.shape
    assert got.image.dtype == image.dtype
    assert 0 <= got.image.min() <= got.image.max() <= 1
    assert (limit.size(got.image, image) <= limit.eps * (1 + 1e-5) + 1e-7).all()
    assert not torch.equal(got.image, image)
    if "grey" in threat:
        assert (got.image - got.image[:, :1]).abs().max() < 1e-6
    assert len(got.text) == len(text)
    assert got.text != text
    assert all(TextThreat(1).allows(a, b) for a, b in zip(text, got.text, strict=True))


@each
def test_leaves_no_trace(name):
    vlm, data = SmallVLM().train(), pairs_data()
    vlm.out.eval()
    before = [part.training for part in vlm.modules()]
    stream, buffers = torch.get_rng_state(), [b.clone() for b in vlm.buffers()]
    copies = data[0].clone(), list(data[1])
    got = run(name, vlm, data)
    assert [part.training for part in vlm.modules()] == before
    assert all(p.grad is None and p.requires_grad for p in vlm.parameters())
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(a, b) for a, b in zip(buffers, vlm.buffers(), strict=True))
    assert torch.equal(copies[0], data[0])
    assert copies[1] == data[1]
    assert not got.image.requires_grad
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            again = run(name, vlm, (data[0] * 1, *data[1:]))
            assert torch.is_grad_enabled() is False
        assert torch.equal(again.image, got.image)
        assert again.text == got.text


@each
def test_without_a_budget_nothing_changes(name):
    data = pairs_data()
    got = run(name, SmallVLM(), data, "linf:0", words=0)
    assert torch.equal(got.image, data[0])
    assert got.text == data[1]


@each
def test_nobody_there(name):
    image, text, owner = torch.rand(0, 3, 16, 16), [], torch.zeros(0, dtype=torch.int64)
    for who in (owner, None):
        got = run(name, SmallVLM(), (image, text, who))
        assert (len(got.image), got.text, len(got.image_won), len(got.text_won)) == (0, [], 0, 0)
    assert "0/0 images" in repr(got)


@each
def test_success_is_judged_with_both_sides_changed(name):
    vlm, data = SmallVLM().eval(), pairs_data(images=5, captions=5)
    got = run(name, vlm, data, "linf:16/255")
    with torch.no_grad():
        near = vlm.encode_image(got.image) @ vlm.encode_text(got.text).T
    assert torch.equal(got.image_won, data[2][near.argmax(1)] != torch.arange(5))
    assert torch.equal(got.text_won, near.argmax(0) != data[2])
    assert got.image_won.any()


@pytest.mark.parametrize("name", ["separate", "co_attack", "sga one scale"])
def test_parts_give_the_same_as_the_whole(name):
    vlm, data = SmallVLM().eval(), pairs_data(images=5, captions=2)
    # One step from starts that are drawn part by part from one stream: the same numbers in the same order.
    how = {"steps": 1, "step": 1 / 255, "threat": "linf:2/255"}
    whole, parts = (run(name, vlm, data, batch_size=size, **how) for size in (256, 3))
    assert torch.allclose(whole.image, parts.image, atol=1e-6)
    assert parts.text == whole.text
    assert parts.cost[:3] == whole.cost[:3]


def test_texts_are_read_once_a_stage_and_never_in_a_step():
    vlm, data = SmallVLM(), pairs_data(captions=5)
    costs = {}
    for steps in (2, 6):
        vlm.texts_read = 0
        got = run("sga", vlm, data, steps=steps)
        assert got.cost.text_forwards == vlm.texts_read
        costs[steps] = got.cost
    assert costs[2].text_forwards == costs[6].text_forwards
    # Two attacks on words read a text clean and with each of its five words changed; twice more it is read alone.
    assert costs[2].text_forwards == 2 * 20 * 6 + 2 * 20
    assert costs[2].backwards == 2 * 5 * 4
    assert costs[6].forwards == (6 + 1) * 5 * 4 + 2 * 4


@pytest.mark.parametrize("name", ["co_attack", "sga"])
def test_words_start_from_the_clean_texts_again(name):
    vlm, data = SmallVLM(), pairs_data()
    diary = SwapLetters(vlm)
    run(name, vlm, data, text_attack=diary)
    assert diary.calls == [data[1], data[1]]


def test_images_that_have_lost_may_leave():
    vlm, data = SmallVLM(), pairs_data(images=6, captions=1)
    slow, quick = (run("sga", vlm, data, "linf:32/255", steps=8, stop=stop) for stop in (False, True))
    assert quick.cost.backwards < slow.cost.backwards == 8 * 5 * 6


def test_texts_that_read_the_same_are_nobodys_mistake():
    vlm, (image, _, _) = SmallVLM(), pairs_data(images=2)
    text = ["A polyp", "a polyp "]
    got = run("separate", vlm, (image, text, None), "linf:0", words=0)
    assert not got.image_won.any()
    assert not got.text_won.any()
    strict = run("separate", vlm, (image, text, None), "linf:0", words=0, own=torch.eye(2, dtype=torch.bool))
    assert strict.image_won.all()


def test_words_that_run_into_those_of_another_image_are_nobodys_mistake():
    image, text = pairs_data(images=2)[0], ["a polyp", "a cyst"]

    def alike(want, text):
        return Words(["a cyst", "a cyst"], torch.ones(2, dtype=torch.bool))

    got = run("separate", SmallVLM(), (image, text, None), "linf:0", text_attack=alike)
    assert not got.image_won.any()
    assert not got.text_won.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"owner": torch.zeros(12, dtype=torch.int64)}, "give every image a text; got 3 without"),
        ({"owner": torch.full((12,), 4)}, r"must be \(12,\) image numbers below 4"),
        ({"owner": torch.arange(4)}, r"must be \(12,\) image numbers below 4; got shape \(4,\)"),
        ({"owner": None}, "Pass the number of the image"),
        ({"own": torch.ones(4, 3, dtype=torch.bool)}, r"must be \(4, 12\) bool"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"steps": 0}, "'steps' parameter"),
        ({"scales": (0.5, 0)}, "'scales' parameter of sga"),
        ({"noise": -1.0}, "'noise' at least 0"),
    ],
)
def test_refusals(change, words):
    with pytest.raises(ValueError, match=words):
        run("sga", SmallVLM(), pairs_data(), **change)


def test_refuses_normalised_images_and_one_sentence():
    image, text, owner = pairs_data()
    with pytest.raises(ValueError, match="Did you normalise"):
        run("co_attack", SmallVLM(), (image * 3 - 1, text, owner))
    with pytest.raises(ValueError, match="list of str"):
        run("separate", SmallVLM(), (image[:1], "one", None))


def test_captions_that_differ_in_inner_white_space_or_behind_the_context_are_nobodys_mistake():
    (image, _, _) = pairs_data(images=2)
    vlm = SmallVLM()
    for text in (["a  polyp", "a polyp"], ["a polyp here", "a polyp there"]):
        got = run("separate", vlm, (image, text, None), "linf:0", words=0)
        assert not got.image_won.any()
        assert not got.text_won.any()
        read = vlm.encode_text
        vlm.encode_text = lambda texts, read=read: read([" ".join(one.split()[:2]) for one in texts])
        vlm.tokenizer = lambda texts: torch.tensor([[len(word) for word in one.split()[:2]] for one in texts])


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("side", "rows"), [("image", "images 1 of 4"), ("text", "texts 2 of 12")])
def test_a_model_that_is_broken_on_a_row_is_refused_and_the_row_named(name, side, rows):
    class Broken(SmallVLM):
        def encode_image(self, image):
            found = super().encode_image(image)
            return found.index_fill(0, torch.tensor([1]), torch.nan) if side == "image" else found

        def encode_text(self, text):
            found = super().encode_text(text)
            return found.index_fill(0, torch.tensor([2]), torch.nan) if side == "text" and len(text) == 12 else found

    with pytest.raises(ValueError, match=f"NaN or infinity for {rows}"):
        run(name, Broken(), pairs_data())


def test_a_result_says_whether_its_images_stopped_early():
    data = pairs_data(images=2, captions=1)
    assert [run("sga", SmallVLM(), data, steps=1, stop=stop).early_stop for stop in (True, False)] == [True, False]
