"""Words from a masked language model: read at the right place, put together from pieces, loaded safely."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from models import make_models

from medadv.attacks.candidates import Edit
from medadv.attacks.masked import masked_words

transformers = pytest.importorskip("transformers")
WORDS = [*make_models.SPECIAL, *"alpha beta gamma delta epsilon zeta , .".split(), "##a", "##b", "##c", "##d"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tok")
    (folder / "words.txt").write_text("\n".join(WORDS))
    return transformers.BertTokenizerFast(str(folder / "words.txt"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("mlm")
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertForMaskedLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def successor(input_ids, attention_mask):
    """A language model that says of every token: the next of the vocabulary stands here."""
    logits = torch.full((*input_ids.shape, len(WORDS)), -9.0)
    logits.scatter_(2, ((input_ids + 1) % len(WORDS))[..., None], 9.0)
    return SimpleNamespace(logits=logits)


def test_candidates_come_from_the_words_own_place(tokenizer):
    edits = masked_words(successor, tokenizer, top=1)(["alpha gamma, epsilon.", "delta"])
    assert edits == [[Edit(0, "beta"), Edit(1, "delta"), Edit(2, "zeta")], [Edit(0, "epsilon")]]


def test_words_of_pieces_give_way_to_words_of_pieces(tokenizer):
    edits = masked_words(successor, tokenizer, top=3)(["betaab (gammac)"])[0]
    assert edits[0] == Edit(0, "gammabc")
    assert next(edit for edit in edits if edit.position == 1) == Edit(1, "deltad")
    assert len(edits) == 6


def test_long_words_and_long_texts_take_no_time(tokenizer):
    word = "beta" + "abcd" * 8  # 33 pieces: 4^33 lists in the code this does not copy
    edits = masked_words(successor, tokenizer, top=5)([word, "alpha " * 700])
    assert len(edits[0]) == 5
    assert edits[0][0].word == "gamma" + "bcd" + "abcd" * 0 + edits[0][0].word[8:]
    assert max(edit.position for edit in edits[1]) == 509  # 512 places, two of them specials


def test_a_folder(folder):
    source = masked_words(folder, top=4, local_files_only=True)
    source.model.train()
    texts = ["alpha beta, gammaab.", "delta", "zzz epsilon"]
    edits = source(texts)
    assert source.model.training
    assert all(p.grad is None for p in source.model.parameters())
    assert source(texts) == edits
    assert [source([text])[0] for text in texts] == edits
    assert masked_words(str(folder), top=4, batch_size=1)(texts) == edits
    whole = {word for word in WORDS if word.isalpha()}
    assert {edit.word for edit in edits[0] if edit.position < 2} <= whole
    assert {edit.position for edit in edits[0]} == {0, 1, 2}
    assert all(edit.word != ("alpha", "beta", "gammaab")[edit.position] for edit in edits[0])


def test_what_is_no_masked_language_model(tmp_path, folder, tokenizer, monkeypatch):
    with pytest.raises(FileNotFoundError, match="No masked language model can be read from"):
        masked_words(tmp_path)
    config = transformers.BertConfig.from_pretrained(folder)
    transformers.BertModel(config).save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="has no head that could propose words"):
        masked_words(tmp_path / "bare")
    with pytest.raises(ValueError, match="'tokenizer' parameter of masked_words must come with a model"):
        masked_words(successor)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        masked_words(folder, top=0)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'medadv\[full\]'"):
        masked_words(folder)
