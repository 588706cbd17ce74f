"""The text side of a model folder: its tokenizer and the configuration of a BERT tower, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from medadv.models._files import read_json

BPE = "bpe_vocab.txt.gz"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spiece.model",
)
# BERT-base in every number but the vocabulary, so that their config.json need not be fetched.
_BERT_BASE = {
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
    "emilyalsentzer/Bio_ClinicalBERT",
    "bert-base-uncased",
    "google-bert/bert-base-uncased",
}
_WORDS = "transformer.embeddings.word_embeddings.weight"


def bert_config(
    name: str, *, folder: Path, state: dict[str, Tensor], fetch: Callable[[str], Path] | None = None
) -> Any:
    """Find the configuration of a text tower that the model knows only by its hub name.

    Shapes   none.
    Units    none.
    Returns  a transformers configuration: from the folder, known by heart, from the cache, or fetched.
    Raises   FileNotFoundError that says which file to copy; ValueError for a tower open_clip does not know.
    Source   ours. open_clip asks the hub for it even where all weights are local.
    """
    from open_clip.hf_configs import arch_dict
    from transformers import AutoConfig, BertConfig

    words = next((one for key, one in state.items() if key.endswith(_WORDS)), None)
    for place in (folder, folder / Path(name).name):
        if (place / "config.json").is_file():
            kind = read_json(place / "config.json").get("model_type")
            if kind in arch_dict:
                return AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
            if kind != "clip":
                raise ValueError(
                    f"{place / 'config.json'} is of a {kind}; open_clip knows {', '.join(sorted(arch_dict))}."
                )
    if name in _BERT_BASE and words is not None:
        return BertConfig(vocab_size=len(words))
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        if fetch is not None:
            return AutoConfig.from_pretrained(fetch(name), trust_remote_code=False, local_files_only=True)
        raise FileNotFoundError(
            f"The text tower needs the config.json of {name}. Copy it into {folder}; then no network is needed."
        ) from error


def make_tokenizer(
    text: dict[str, Any], *, folder: Path, fetch: Callable[[str], Path] | None = None
) -> tuple[Any, list[Any]]:
    """Make the tokenizer that a text_cfg asks for.

    Shapes   none.
    Units    none.
    Returns  (open_clip tokenizer, the files it was read from).
    Raises   FileNotFoundError that says which files to copy; ValueError for files that cannot be read.
    Source   open_clip.get_tokenizer. Differs: never runs code of the folder; a BPE vocabulary may lie in it.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    length = int(text.get("context_length", 77))
    extra = dict(text.get("tokenizer_kwargs") or {})
    extra.pop("bpe_path", None)  # a path that somebody else wrote down
    name = text.get("hf_tokenizer_name")
    if not name:
        own = folder / BPE
        if own.is_file():
            return SimpleTokenizer(bpe_path=str(own), context_length=length, **extra), [own]
        return SimpleTokenizer(context_length=length, **extra), []
    place = next((one for one in (folder, folder / Path(name).name) if _has_tokenizer(one)), None)
    if place is None:
        if fetch is None:
            raise FileNotFoundError(
                f"The text tower needs the tokenizer of {name}. Copy its tokenizer.json, "
                f"tokenizer_config.json and vocab.txt into {folder}; then no network is needed."
            )
        place = fetch(name)
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        made = HFTokenizer(str(place), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **extra | safe)
    except Exception as error:  # transformers and tokenizers raise many kinds, some of them bare Exception
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"The tokenizer files in {place} cannot be read ({line}). Copy them again.") from error
    return made, [place / one for one in TOKENIZER_FILES if (place / one).is_file()]


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / one).is_file() for one in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model"))
