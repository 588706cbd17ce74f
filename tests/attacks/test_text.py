"""Word attacks: the same as a slow reference, within reach of the threat, no trace left."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from medadv._words import cores, put_word
from medadv.attacks.candidates import Edit, misspellings, synonyms
from medadv.attacks.text import swap_words
from medadv.data.text_labels import phantom_meaning
from medadv.objective import leave
from medadv.threat import TextThreat

CAPTIONS = [
    "A chest radiograph showing a small lung opacity in the left upper zone.",
    "No polyp on this colonoscopy image, normal colon.",
    "A fundus photograph with two large retinal haemorrhages.",
    "There is a mild pleural effusion on the right, seen on this chest film.",
    "A tissue section with a tumour in the middle of the patch.",
]


def encode(texts: Sequence[str]) -> torch.Tensor:
    """A text tower without weights: every word has a random direction, and the order counts a little."""
    rows = []
    for text in texts:
        words = [np.random.default_rng(zlib.crc32(w.lower().encode())).normal(size=12) for w in text.split()]
        rows.append(sum((1 + 0.05 * i) * word for i, word in enumerate(words)))
    return F.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=1)


def wish(texts, below=-1.0):
    return leave(lambda e: e, encode(texts), below=below)


def reference(want, i, clean, threat, sources, meaning, stop):
    """One text at a time, one candidate at a time."""

    def judge(text):
        score = want.keep(torch.tensor([i]))(encode([text]))
        return bool(score.won), float(score.loss)

    best, (won, loss) = clean, judge(clean)
    for _ in range(threat.words):
        if won and stop:
            break
        found = None
        for source in sources:
            for edit in source([best])[0]:
                text = put_word(best, edit.position, edit.word)
                if text != best and threat.allows(clean, text) and meaning(text) == meaning(clean):
                    value = judge(text)
                    found = max(found, (value, text), key=lambda one: one[0]) if found else (value, text)
        if found is None or found[0] <= (won, loss + 1e-6):
            break
        (won, loss), best = found
    return best, won


@pytest.mark.parametrize(("words", "below", "stop"), [(1, -1, True), (2, -1, True), (3, 0.93, True), (3, 0.93, False)])
def test_finds_what_a_slow_search_finds(words, below, stop):
    threat, want = TextThreat(words=words), wish(CAPTIONS, below)
    sources = [synonyms(), misspellings(3, each=3)]
    found = swap_words(
        want, CAPTIONS, threat, encode=encode, sources=sources, meaning=phantom_meaning, stop=stop, batch_size=7
    )
    slow = [reference(want, i, text, threat, sources, phantom_meaning, stop) for i, text in enumerate(CAPTIONS)]
    assert found.text == [text for text, _ in slow]
    assert found.won.tolist() == [won for _, won in slow]
    final = want(encode(found.text))
    torch.testing.assert_close(found.loss, final.loss)
    assert torch.equal(found.won, final.won)
    torch.testing.assert_close(found.similarity, 1 - final.loss)
    assert found.loss.max() > 0.02


words_of_reports = st.sampled_from(
    "no left Right-sided, mild opacity nodules. two chest film 0.58 showing with (normal) Upper lungs: -- X-ray".split()
)
reports = st.lists(words_of_reports, min_size=1, max_size=9).map(" ".join).filter(lambda text: text.strip("- "))


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(reports, min_size=1, max_size=3),
    words=st.integers(0, 3),
    beam=st.integers(1, 3),
    junk=st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["right", "severe", "three", "banana", "7", "a b", ""]))
    ),
)
def test_never_beyond_the_threat(texts, words, beam, junk):
    def wild(texts):
        return [[Edit(i, word) for i, word in junk if i < len(text.split())] for text in texts]

    threat = TextThreat(words=words)
    found = swap_words(
        wish(texts), texts, threat, encode=encode, sources=[wild, synonyms(), misspellings(1, each=2)], beam=beam
    )
    for before, after, edits in zip(texts, found.text, found.edits, strict=True):
        assert threat.allows(before, after)
        assert len(edits) <= words
        rebuilt = before
        for position, old, new in edits:
            assert cores(before)[position].text == old
            assert not threat.guards(old)
            assert not threat.guards(new)
            rebuilt = put_word(rebuilt, position, new)
        assert rebuilt.lower() == after.lower()
        assert before.split() == after.split() or words
    if words == 0:
        assert found.text == texts
        assert found.cost.text_forwards == len(set(texts))


def test_what_changes_the_meaning_is_refused_and_counted():
    def liar(texts):
        table = {"left": "right", "no": "with", "small": "large", "two": "one", "opacity": "effusion", "film": "x-ray"}
        return [[Edit(i, table[w]) for i, w in enumerate(one.lower().split()) if w in table] for one in texts]

    texts = ["A small opacity in the left upper zone.", "Chest film: no polyp.", "Two polyps."]
    texts[1] = "This chest film shows no opacity"
    how = {"encode": encode, "sources": liar, "meaning": phantom_meaning}
    bold = swap_words(wish(texts), texts, TextThreat(words=1, protected=frozenset()), **how)
    assert bold.refused.tolist() == [3, 2, 1]
    assert bold.guarded.tolist() == [0, 0, 0]
    assert bold.text == [texts[0], "This chest x-ray shows no opacity", texts[2]]
    meek = swap_words(wish(texts), texts, TextThreat(words=1), **how)
    assert meek.refused.tolist() == [1, 1, 0]
    assert meek.guarded.tolist() == [2, 1, 1]
    assert swap_words(wish(texts), texts, TextThreat(protected=frozenset()), encode=encode, sources=liar).edits[2] == (
        (0, "Two", "One"),
    )


def test_a_beam_finds_what_greed_misses():
    worth = {"a b": 0.0, "c b": 0.3, "d b": 0.2, "d e": 1.0, "a e": 0.1, "c e": 0.4}

    def table(texts):
        return torch.tensor([[worth.get(text, 0.0), 1.0] for text in texts])

    def source(texts):
        return [[Edit(0, "c"), Edit(0, "d"), Edit(1, "e")] for _ in texts]

    want = leave(lambda e: e, torch.tensor([[0.0, 1.0]]), below=-1.0)
    how = {"encode": table, "sources": source}
    assert swap_words(want, ["a b"], TextThreat(words=2), **how).text == ["c e"]
    assert swap_words(want, ["a b"], TextThreat(words=2), beam=2, **how).text == ["d e"]
    assert swap_words(want, ["a b"], TextThreat(words=1), beam=2, **how).text == ["c b"]


def test_alone_or_in_a_batch_and_every_text_once():
    read: list[str] = []

    def counted(texts):
        read.extend(texts)
        return encode(texts)

    how = {"sources": [synonyms(), synonyms()], "meaning": phantom_meaning}
    twice = [*CAPTIONS, CAPTIONS[0]]
    found = swap_words(wish(twice), twice, TextThreat(words=1), encode=counted, **how)
    assert len(read) == len(set(read)) == found.cost.text_forwards
    for i, text in enumerate(CAPTIONS):
        alone = swap_words(wish([text]), [text], TextThreat(words=1), encode=encode, **how)
        assert alone.text == found.text[i : i + 1]
    assert found[[0, 5]].text == [found.text[0]] * 2
    assert "0/6 won" in repr(found)


def test_those_that_won_leave():
    want = wish(CAPTIONS, below=2.0)  # everything has won from the start
    gone = swap_words(want, CAPTIONS, TextThreat(), encode=encode, sources=synonyms())
    assert gone.text == CAPTIONS
    assert gone.won.all()
    assert gone.cost.text_forwards == len(CAPTIONS)
    stay = swap_words(want, CAPTIONS, TextThreat(), encode=encode, sources=synonyms(), stop=False)
    assert stay.text != CAPTIONS


def test_tries_are_drawn_by_the_generator():
    how = {"encode": encode, "sources": misspellings(), "tries": 2}
    before = torch.get_rng_state()

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return swap_words(wish(CAPTIONS), CAPTIONS, TextThreat(), generator=generator, **how)

    assert draw(1).text == draw(1).text
    assert draw(1).text != draw(2).text
    assert draw(1).cost.text_forwards <= 3 * len(CAPTIONS)
    assert torch.equal(before, torch.get_rng_state())


def test_the_class_words():
    texts = ["A benign naevus.", "Two naevi and a tumour."]
    how = {"encode": encode, "sources": synonyms(), "finding": ["naevus", "Tumour"]}
    found = swap_words(wish(texts), texts, TextThreat(words=2), **how)
    assert found.kept.tolist() == [all(w in one for w in ("naev",)) and "neopl" not in one for one in found.text]
    held = swap_words(wish(texts), texts, TextThreat(words=2, protected={"naevus", "tumour"}), **how)
    assert held.kept.tolist() == [True, True]
    assert held.guarded[0] > 0
    assert swap_words(wish(texts), texts, TextThreat(), encode=encode, sources=synonyms()).kept.all()


def test_no_texts_and_no_words():
    none = swap_words(wish(["x"]).keep(torch.zeros(0).long()), [], TextThreat(), encode=encode, sources=synonyms())
    assert len(none) == 0
    assert none.won.dtype == torch.bool
    for text, sentence in (
        (["a film", " "], "hold a word in every text; got an empty one at 1"),
        (["--"], "got an empty one at 0"),
        ("a film", "must be a list of str; got one"),
        ([1], "must be a list of str"),
    ):
        with pytest.raises(ValueError, match=sentence):
            swap_words(wish(["x"]), text, TextThreat(), encode=encode, sources=synonyms())
    with pytest.raises(ValueError, match="'tries' parameter of swap_words must be at least 1; got 0"):
        swap_words(wish(["x"]), ["x"], TextThreat(), encode=encode, sources=synonyms(), tries=0)


def test_a_clean_embedding_that_is_not_a_number_is_refused():
    texts = ["first film", "second film"]
    want = wish(texts)

    def broken(texts):
        found = encode(texts)
        found[[text.startswith("second") for text in texts]] = torch.nan
        return found

    with pytest.raises(ValueError, match="got NaN or infinity for texts 1 of 2"):
        swap_words(want, texts, TextThreat(1), encode=broken, sources=[synonyms()])
    anchored = leave(lambda e: e, broken(texts), below=-1.0)
    with pytest.raises(ValueError, match="got NaN for texts 1 of 2"):
        swap_words(anchored, texts, TextThreat(1), encode=encode, sources=[synonyms()])


def test_a_model_that_breaks_at_a_candidate_is_not_fooled_by_it():
    texts = ["a chest film"]

    def broken(texts):
        found = encode(texts)
        found[[text != "a chest film" for text in texts]] = torch.nan
        return found

    got = swap_words(wish(texts), texts, TextThreat(1), encode=broken, sources=[synonyms()])
    assert got.text == texts
    assert got.loss.isfinite().all()


def test_a_result_says_whether_it_stopped_early():
    texts = CAPTIONS[:2]
    for stop in (True, False):
        got = swap_words(wish(texts), texts, TextThreat(1), encode=encode, sources=[synonyms()], stop=stop)
        assert got.early_stop is stop
