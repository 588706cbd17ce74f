"""The attacks on pairs with the package's own attack on words, on the tiny Med-VLM and phantoms."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from medadv.attacks.candidates import misspellings, synonyms
from medadv.attacks.hotflip import hotflip
from medadv.attacks.multimodal import co_attack, separate, sga
from medadv.attacks.text import swap_words
from medadv.data import load
from medadv.data.text_labels import phantom_meaning
from medadv.models import load as load_model
from medadv.reports.retrieval import under_attack
from medadv.threat import TextThreat, Threat

IMAGES, CAPTIONS = 6, 3


@pytest.fixture(scope="module")
def vlm():
    return load_model("tiny")


@pytest.fixture(scope="module")
def data():
    pairs = load("phantoms", size=64, split="test", n=IMAGES)
    image = torch.stack([pairs.load(i)[0] for i in range(IMAGES)])
    text = [caption for row in pairs.rows for caption in row.captions[:CAPTIONS]]
    return image, text, torch.arange(IMAGES).repeat_interleave(CAPTIONS)


@pytest.mark.parametrize("attack", [separate, co_attack, sga])
def test_words_and_pixels_together(vlm, data, attack):
    image, text, owner = data
    budget, threat = TextThreat(1), Threat.parse("linf:1/255")

    def words(want, text):
        sources = [synonyms(), misspellings(0, each=2), hotflip(vlm, want, top=2)]
        return swap_words(
            want, text, budget, encode=vlm.encode_text, sources=sources, meaning=phantom_meaning, stop=False
        )

    gen = torch.Generator().manual_seed(0)
    run = partial(attack, vlm, image, text, threat, owner=owner, text_attack=words, steps=3, generator=gen)
    with torch.no_grad():
        got = run()
    assert (threat.size(got.image, image) <= threat.eps + 1e-6).all()
    assert all(budget.allows(a, b) for a, b in zip(text, got.text, strict=True))
    assert [phantom_meaning(one) for one in got.text] == [phantom_meaning(one) for one in text]
    assert sum(a != b for a, b in zip(text, got.text, strict=True)) > len(text) // 2
    assert got.words.text == got.text
    assert got.words.refused.shape == (len(text),)
    assert all(p.grad is None for p in vlm.parameters())
    report = under_attack(vlm, image, text, {attack.__name__: got}, owner=owner, k=(1,), n=20)
    before, after = report["recall@1", "none", "nothing", "t2i"], report["recall@1", attack.__name__, "both", "t2i"]
    assert after.value < before.value


def test_pixels_alone_when_no_word_may_change(vlm, data):
    image, text, owner = data

    def words(want, text):
        return swap_words(want, text, TextThreat(0), encode=vlm.encode_text, sources=synonyms())

    got = sga(vlm, image, text, Threat.parse("linf:1/255"), owner=owner, text_attack=words, steps=2)
    assert got.text == text
    assert not torch.equal(got.image, image)
