"""The shipped lexicon, synonyms and misspellings."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medadv._words import (
    Group,
    bare,
    cores,
    one_apart,
    plural,
    put_word,
    read_lexicon,
    singular,
    takes_an,
)
from medadv.attacks.candidates import Edit, misspellings, synonyms
from medadv.threat import TextThreat


def test_the_lexicon_is_large_and_every_word_has_one_meaning():
    groups = read_lexicon()
    words = [word for group in groups for word in (*group.words, *group.oneway)]
    assert len(groups) > 250
    assert [word for word, times in collections.Counter(words).items() if times > 1] == []
    assert [word for word in words if TextThreat().guards(word)] == []
    assert all(word == bare(word) for word in words)


def test_a_lexicon_of_ones_own(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("# mine\n[nouns]\nmass lump\n[words]\nPulmonary > lung # one way\n")
    groups = read_lexicon(file)
    assert groups == (Group(("mass", "lump")), Group(("masses", "lumps")), Group(("pulmonary",), ("lung",)))
    assert synonyms(groups)(["A pulmonary mass in the lung."]) == [[Edit(1, "lung"), Edit(2, "lump")]]
    file.write_text("alone\n")
    with pytest.raises(ValueError, match="line 1 must hold two words or more; got 'alone'"):
        read_lexicon(file)


def test_synonyms_keep_the_article():
    source = synonyms()
    (edits,) = source(["An opacity on a film."])
    assert {edit.word for edit in edits} == {"opacification", "radiograph", "roentgenogram", "radiogram"}
    (edits,) = source(["The film"])
    assert Edit(1, "x-ray") in edits
    assert source(["left no two mild", ""]) == [[], []]


@pytest.mark.parametrize(
    ("text", "position", "word", "result"),
    [
        ("Chest film: (nodule).", 0, "thorax", "Thorax film: (nodule)."),
        ("Chest film: (nodule).", 2, "tumour", "Chest film: (tumour)."),
        ("chest  X-ray,\nclear", 1, "film", "chest  film,\nclear"),
        ("FINDINGS: film. Film", 0, "observations", "OBSERVATIONS: film. Film"),
        ("FINDINGS: film. Film", 2, "x-ray", "FINDINGS: film. X-ray"),
    ],
)
def test_a_word_is_put_where_one_was(text, position, word, result):
    assert put_word(text, position, word) == result


def test_misspellings_are_slips_inside_a_word():
    (edits,) = misspellings(0, each=1000)(["A nodule, of MASS 12cm lung."])
    assert {edit.position for edit in edits} == {1, 3, 5}
    for edit in edits:
        word = {1: "nodule", 3: "mass", 5: "lung"}[edit.position]
        assert one_apart(word, edit.word)
        assert (edit.word[0], edit.word[-1]) == (word[0], word[-1])
    slips = {edit.word for edit in edits if edit.position == 1}
    assert {"ndoule", "nodlue", "ndule", "noodule", "nidule", "npdule"} <= slips


def test_misspellings_depend_on_the_seed_and_the_word_alone():
    one, two = misspellings(1, each=3), misspellings(1, each=3)
    assert [e.word for e in one(["nodule"])[0]] == [e.word for e in two(["the film", "large nodule"])[1] if e.position]
    assert one(["a radiograph of the lungs"]) != misspellings(2, each=3)(["a radiograph of the lungs"])
    assert len(one(["nodule"])[0]) == 3
    with pytest.raises(ValueError, match="must be at least 1 and 3; got 0 and 4"):
        misspellings(each=0)


@pytest.mark.parametrize(
    ("one", "many"), [("mass", "masses"), ("opacity", "opacities"), ("nodule", "nodules"), ("biopsy", "biopsies")]
)
def test_plurals(one, many):
    assert plural(one) == many
    assert singular(many) == one
    assert singular(one) == one


def test_articles():
    assert all(takes_an(word) for word in ("opacity", "X-ray", "unremarkable", "ulcer", "image", "effusion"))
    assert not any(takes_an(word) for word in ("uniform", "film", "uterus", "euthyroid"))


@given(st.text(alphabet="abc", max_size=6), st.text(alphabet="abc", max_size=6))
def test_one_apart_is_symmetric_and_right(one, other):
    def near(word):
        cut = [(word[:i], word[i:]) for i in range(len(word) + 1)]
        swaps = {a + b[1] + b[0] + b[2:] for a, b in cut if len(b) > 1}
        return swaps | {a + b[1:] for a, b in cut if b} | {a + c + b[k:] for a, b in cut for c in "abc" for k in (0, 1)}

    assert one_apart(one, other) == one_apart(other, one)
    assert one_apart(one, other) == (one != other and (other in near(one) or one in near(other)))


@given(st.text(alphabet="ab.,-( \n'", max_size=12))
def test_words_are_those_of_split(text):
    assert len(cores(text)) == len(text.split())
    assert all(text[core.start : core.end] == core.text for core in cores(text))
