"""Words that a masked language model finds likely in a place: fluent candidates, for which the meaning must be held by
somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from medadv._quiet import quiet
from medadv._words import cores
from medadv.attacks._wordpieces import Pieces, best_words, pieces_of, places_of
from medadv.attacks.candidates import Edit


@dataclass(frozen=True)
class MaskedWords:
    """A source of edits, see `masked_words`."""

    model: Any
    tokenizer: Any
    pieces: Pieces
    top: int
    batch_size: int
    length: int
    passes: ClassVar[tuple[int, int]] = (1, 0)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> list[list[Edit]]:
        edits: list[list[Edit]] = []
        with quiet(self.model):
            for start in range(0, len(texts), self.batch_size):
                edits += self._fill(texts[start : start + self.batch_size])
        return edits

    def _fill(self, texts: list[str]) -> list[list[Edit]]:
        read = self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
        tokens = read["input_ids"]
        places = places_of(self.tokenizer, texts, tokens)
        edits: list[list[Edit]] = [[] for _ in texts]
        if not places:
            return edits
        device = next((one.device for one in getattr(self.model, "parameters", list)()), tokens.device)
        logits = self.model(
            input_ids=tokens.to(device), attention_mask=read["attention_mask"].to(device)
        ).logits.float()
        # Row j of the logits speaks of token j, and token 0 is [CLS]: the place is the token's own, not the word's.
        chance = logits[[one.text for one in places], [one.at for one in places]].log_softmax(1)
        old = [[core.text.lower() for core in cores(text)] for text in texts]
        for (row, word), found in best_words(chance, places, self.pieces, top=self.top + 1).items():
            new = [said.lower() for _, said in found if len(said) > 1 and said.lower() != old[row][word]]
            edits[row] += [Edit(word, said) for said in dict.fromkeys(new)][: self.top]
        return edits


def masked_words(
    model: Any,
    tokenizer: Any = None,
    *,
    top: int = 10,
    batch_size: int = 16,
    local_files_only: bool = False,
    device: torch.device | str = "cpu",
) -> MaskedWords:
    """Propose the words that a masked language model finds likeliest in the place of each word.

    Shapes   model: a transformers masked-LM module with its tokenizer, or a folder or hub name that holds both.
    Units    `top` words for each word; words of n pieces give way to words of n pieces, found by a beam of `top`.
    Returns  a source.
    Raises   ModuleNotFoundError without transformers; FileNotFoundError or ValueError for files that are missing or
             hold no masked language model.
    Source   Li et al. 2020 (BERT-Attack), arXiv 2004.09984: the words are not masked while asked for. Differs: all
             texts in padded batches; candidates are read at the own row (copies of that code in image-text
             attacks read the row of the word before); log-probabilities instead of raw logits.
    """
    if top < 1:
        raise ValueError(f"The 'top' parameter of masked_words must be at least 1; got {top}.")
    if isinstance(model, (str, Path)):
        model, tokenizer = _load(str(model), tokenizer, local_files_only or Path(model).is_dir())
        model.to(device)
    if tokenizer is None:
        raise ValueError(
            "The 'tokenizer' parameter of masked_words must come with a model; got None. Pass the model's."
        )
    config = getattr(model, "config", None)
    size = int(getattr(config, "vocab_size", 0)) or len(tokenizer)
    # RoBERTa counts its positions from 2.
    most = int(getattr(config, "max_position_embeddings", 512)) - 2 * (getattr(config, "model_type", "") == "roberta")
    length = min(int(tokenizer.model_max_length), most)
    return MaskedWords(model, tokenizer, pieces_of(tokenizer, size), top, batch_size, length)


def _load(name: str, tokenizer: Any, local_files_only: bool) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForMaskedLM, AutoTokenizer
    except ImportError as error:
        raise ModuleNotFoundError(
            "masked_words reads models with transformers, which is not installed. Run pip install 'medadv[full]'."
        ) from error
    safe: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    try:
        # Where there are no safetensors the older file is read as weights only: nothing in it is run.
        model, told = AutoModelForMaskedLM.from_pretrained(name, weights_only=True, output_loading_info=True, **safe)
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, **safe) if tokenizer is None else tokenizer
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"No masked language model can be read from {name} ({str(error).splitlines()[0][:200]}). Give a folder "
            "with config.json, model.safetensors and the tokenizer's files."
        ) from error
    if told["missing_keys"]:
        raise ValueError(
            f"The 'model' parameter of masked_words must be a masked language model; {name} lacks "
            f"{sorted(told['missing_keys'])[0]}. A bare encoder has no head that could propose words."
        )
    return model.eval(), tokenizer
