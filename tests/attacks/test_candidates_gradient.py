"""Gradient-guided words: the first order is right, the best word of a linear tower is the best word, specials stay."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from models import make_models
from torch import nn

from medadv._words import cores
from medadv.attacks._wordpieces import pieces_of, places_of, spell
from medadv.attacks.hotflip import hotflip, token_gradient
from medadv.models import load
from medadv.objective import Objective, leave
from medadv.types import Score

TEXTS = ["A chest film: nodule in the left lung.", "Two polyps, seen on this colonoscopy image"]


@pytest.fixture(scope="module")
def vlm():
    return load("tiny")


@pytest.fixture(scope="module")
def biomed(tmp_path_factory):
    return load(f"local-dir:{make_models.save_biomed(tmp_path_factory.mktemp('m') / 'biomed')}", device="cpu")


class Linear(nn.Module):
    """A text tower that adds up its embeddings: the first order is everything."""

    def __init__(self, vlm):
        super().__init__()
        self.tokenizer, self.tokenize = vlm.tokenizer, vlm.tokenize
        self.table = nn.Embedding.from_pretrained(torch.randn(1024, 8, generator=torch.Generator().manual_seed(0)))
        self.weight = torch.randn(40, 8, 5, generator=torch.Generator().manual_seed(1))

    def token_embedding(self):
        return self.table

    def encode_text(self, tokens):
        return torch.einsum("nlw,lwd->nd", self.table(tokens), self.weight[: tokens.shape[1]])


def upwards(many, width):
    slope = torch.randn(many, width, generator=torch.Generator().manual_seed(2))
    return Objective(lambda e, slope: Score((e * slope).sum(1), torch.zeros(len(e)).bool()), (slope,))


def test_the_best_word_of_a_linear_tower_is_the_best_word(vlm):
    tower, want = Linear(vlm), upwards(2, 5)
    tokens = vlm.tokenize(TEXTS)
    clean = want(tower.encode_text(tokens)).loss
    pieces = pieces_of(vlm.tokenizer, 1024)
    for row, text in enumerate(TEXTS):
        edits = hotflip(tower, want, top=3).keep(torch.tensor([row]))([text])[0]
        for place in places_of(vlm.tokenizer, [text], tokens[row : row + 1]):
            if place.many > 1:
                continue
            every = tokens[row].repeat(1024, 1)
            every[:, place.at] = torch.arange(1024)
            gain = want.keep(torch.full((1024,), row))(tower.encode_text(every)).loss - clean[row]
            old = cores(text)[place.word].text.lower()
            fits = [i for i in range(1024) if pieces.fit(0, 1)[i] and len(pieces.text[i]) > 1 and pieces.text[i] != old]
            best = sorted(fits, key=lambda i: -gain[i].item())[:3]
            assert [e.word for e in edits if e.position == place.word][:2] == [pieces.text[i] for i in best][:2]


def test_listed_words_are_the_best_of_the_list(vlm):
    tower, want = Linear(vlm), upwards(1, 5)
    text = "A malignant film in the lung"
    words = [*"film lung nodule chest image picture naevus tumour retina polyp shows small".split(), "haemorrhages"]
    words += ["melanoma", "effusion", "opacity", "radiograph", "dermatoscopic", "nodules", "malignant"]
    spelled = spell(vlm.tokenizer, words)
    tokens = vlm.tokenize([text])
    edits = hotflip(tower, want, words=words, top=2)([text])[0]
    assert edits
    assert {edit.word for edit in edits} <= set(words)
    for number, core in enumerate(cores(text)):
        at = [place.at for place in places_of(vlm.tokenizer, [text], tokens) if place.word == number]
        said, ids = spelled.get(len(at), ([], torch.zeros(0, 0)))
        worth = {}
        for word, new in zip(said, ids, strict=True):
            changed = tokens.clone()
            changed[0, at] = new
            worth[word] = want(tower.encode_text(changed)).loss.item()
        worth.pop(core.text.lower(), None)
        best = sorted(worth, key=lambda word: -worth[word])[:2]
        assert [edit.word for edit in edits if edit.position == number] == best


@pytest.mark.parametrize("which", ["vlm", "biomed"])
def test_the_first_order_agrees_with_a_small_step(which, request):
    model = request.getfixturevalue(which)
    model.double()
    texts = ["a nodule of the lung", "heart. normal eye"]
    with torch.no_grad():
        anchor = model.encode_text(["image of the heart", "skin"])
    want = Objective(lambda e, to: Score(1 - (e * to).sum(1), torch.zeros(len(e)).bool()), (anchor,))
    tokens = model.tokenize(texts)
    gradient = token_gradient(model, want, tokens)
    assert gradient.shape == (*tokens.shape, model.token_embedding().embedding_dim)
    way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = []
    for step in (1e-4, -1e-4):
        hook = model.token_embedding().register_forward_hook(lambda _m, _i, o, s=step: o + s * way[:, : o.shape[1]])
        with torch.no_grad():
            values.append(want(model.encode_text(tokens)).loss)
        hook.remove()
    slope = (values[0] - values[1]) / 2e-4
    torch.testing.assert_close((gradient.double() * way).sum((1, 2)), slope, atol=1e-6, rtol=1e-3)
    assert all(p.grad is None for p in model.parameters())
    model.float()


def test_where_the_words_stand(vlm, biomed):
    for model, texts in (
        (vlm, TEXTS),
        (biomed, ["A nodules, of (lung).", "heart zzz. eye eye eye eye eye eye eye eye"]),
    ):
        tokens = model.tokenize(texts)
        places = places_of(model.tokenizer, texts, tokens)
        pieces = pieces_of(model.tokenizer, model.token_embedding().num_embeddings)
        special = set(
            getattr(model.tokenizer, "all_special_ids", getattr(model.tokenizer, "tokenizer", None) and (0, 2, 3))
        )
        for place in places:
            assert int(tokens[place.text, place.at]) not in special
        for row, text in enumerate(texts):
            for number, core in enumerate(cores(text)):
                said = [pieces.text[int(tokens[row, p.at])] for p in places if (p.text, p.word) == (row, number)]
                assert "".join(said) in ("", core.text.lower())
    assert [p.word for p in places if p.text == 0] == [0, 1, 1, 2, 3]
    assert max(p.word for p in places) == 8  # the last words were cut off
    assert [p for p in places if p.text == 1 and p.word == 1] != []  # [UNK] stands somewhere, too


def test_a_bert_tower_gets_whole_words(biomed):
    want = leave(lambda e: e, biomed.encode_text(["a nodules of lung", "heart"]).detach())
    edits = hotflip(biomed, want, top=50)(["A nodules of lung", "heart [MASK]"])
    known = set(make_models.WORDS)
    for edit in (*edits[0], *edits[1]):
        whole = edit.word in known and not edit.word.startswith("##")
        assert whole or (edit.word[-1] in "sab" and edit.word[:-1] in known)
        assert whole != (edit.position == 1)  # the word of two pieces gives way to two pieces
    assert {edit.position for edit in edits[0]} == {0, 1, 2, 3}


def test_batches_and_rows(vlm):
    anchor = vlm.encode_text([*TEXTS, TEXTS[0][::-1]]).detach()
    want = leave(lambda e: e, anchor)
    texts = [*TEXTS, "a small polyp"]
    whole = hotflip(vlm, want, top=2)
    assert hotflip(vlm, want, top=2, batch_size=1)(texts) == whole(texts)
    assert whole.keep(torch.tensor([2, 0, 0]))([texts[2], texts[0], texts[0]]) == [whole(texts)[i] for i in (2, 0, 0)]
    with pytest.raises(ValueError, match="'top' parameter of hotflip must be at least 1; got 0"):
        hotflip(vlm, want, top=0)


def test_a_slow_tokenizer_is_refused_with_a_sentence():
    slow = SimpleNamespace(get_vocab=dict, is_fast=False)
    with pytest.raises(ValueError, match="use_fast=True"):
        places_of(slow, ["a"], torch.zeros(1, 3))


def test_html_references_cost_no_candidates(vlm):
    texts = ["a film < opacity in the lung", "a film &lt; opacity in the lung"]
    want = leave(lambda e: e, vlm.encode_text(["a small polyp"] * 2).detach())
    unescaped, escaped = hotflip(vlm, want, top=3)(texts)
    assert escaped == unescaped
    assert max(edit.position for edit in escaped) == len(texts[0].split()) - 1
