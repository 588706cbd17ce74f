"""Word attacks on the tiny Med-VLM: no trace in the model, the context, retrieval that falls."""

from __future__ import annotations

import logging

import pytest
import torch

from medadv.attacks.candidates import Edit, misspellings, synonyms
from medadv.attacks.hotflip import hotflip
from medadv.attacks.text import swap_words
from medadv.data import load as load_data
from medadv.data.text_labels import phantom_meaning
from medadv.models import load
from medadv.objective import leave, pairs
from medadv.threat import TextThreat


@pytest.fixture(scope="module")
def vlm():
    return load("tiny")


@pytest.fixture(scope="module")
def world(vlm):
    data = load_data("phantoms", n=24)
    with torch.no_grad():
        image = vlm.encode_image(data.batch(range(24)).image)
    return image, [row.captions[0] for row in data.rows], data.labels


def test_no_trace_in_the_model_and_the_same_everywhere(vlm, world):
    image, texts, label = world
    want = pairs(lambda e: e, image, label[:8, None] == label[None])
    vlm.train()
    modes = [part.training for part in vlm.modules()]
    rng, weights = torch.get_rng_state(), [p.detach().clone() for p in vlm.parameters()]

    def attack():
        sources = [synonyms(), hotflip(vlm, want, top=3)]
        return swap_words(want, texts[:8], TextThreat(words=2), encode=vlm.encode_text, sources=sources)

    plain = attack()
    with torch.no_grad():
        assert attack().text == plain.text
    with torch.inference_mode():
        inside = attack()
        assert inside.text == plain.text
        assert not inside.loss.is_inference()
    assert [part.training for part in vlm.modules()] == modes
    assert all(p.grad is None for p in vlm.parameters())
    assert all(torch.equal(p, q) for p, q in zip(vlm.parameters(), weights, strict=True))
    assert torch.equal(torch.get_rng_state(), rng)
    assert not plain.loss.requires_grad
    assert not vlm.token_embedding()._forward_hooks
    assert plain.cost.backwards >= 1
    vlm.eval()


def test_captions_lose_their_images(vlm, world):
    image, texts, label = world
    want = pairs(lambda e: e, image, label[:, None] == label[None])
    with torch.no_grad():
        before = want(vlm.encode_text(texts))
    how = {"encode": vlm.encode_text, "meaning": phantom_meaning}
    found = swap_words(want, texts, TextThreat(words=1), sources=[misspellings(each=3), synonyms()], **how)
    with torch.no_grad():
        after = want(vlm.encode_text(found.text))
    torch.testing.assert_close(found.loss, after.loss, atol=1e-5, rtol=0)
    assert (after.loss >= before.loss - 1e-5).all()
    assert after.won.sum() > before.won.sum() + 4
    assert all(phantom_meaning(a) == phantom_meaning(b) for a, b in zip(texts, found.text, strict=True))


def test_nothing_behind_the_context_is_changed(vlm, caplog):
    text = "A chest film with " + "a nodule and " * 20 + "a normal colon."
    tail = len(text.split()) - 2

    def source(texts):
        return [[Edit(tail, "healthy"), Edit(tail + 1, "colour")] for _ in texts]

    vlm.truncated = 0
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        want = leave(lambda e: e, vlm.encode_text([text]))
        found = swap_words(want, [text], TextThreat(), encode=vlm.encode_text, sources=source)
    assert found.text == [text]
    assert found.similarity.item() == pytest.approx(1, abs=1e-5)
    assert vlm.truncated >= 2
    assert sum("were cut" in record.message for record in caplog.records) == 1
    # At the text's own embedding the gradient is zero but for rounding, so candidates are asked for against another's.
    with torch.no_grad():
        other = leave(lambda e: e, vlm.encode_text(["a fundus photograph"]))
    edits = hotflip(vlm, other)([text])[0]
    assert edits
    assert max(edit.position for edit in edits) < 40
    vlm.truncated = 0
