"""The text side of a model folder: its tokenizer and the configuration of a BERT tower, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from medadv.models._build import check_layers
from medadv.models._files import foreign, read_json, told

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
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}

    def read(place: Path) -> Any:
        check_layers(read_json(place / "config.json"), len(state), where=str(place))
        with foreign(f"{place / 'config.json'} cannot be read by transformers", "Copy the file again."):
            return AutoConfig.from_pretrained(place, **safe)

    for place in (folder, folder / Path(name).name):
        if (place / "config.json").is_file():
            kind = read_json(place / "config.json").get("model_type")
            if isinstance(kind, str) and kind in arch_dict:
                return read(place)
            if kind != "clip":
                raise ValueError(
                    f"{place / 'config.json'} must be of a tower that open_clip knows; got {told(kind, 60)}. "
                    f"It knows {', '.join(sorted(arch_dict))}."
                )
    if name in _BERT_BASE and words is not None:
        return BertConfig(vocab_size=len(words))
    try:
        return AutoConfig.from_pretrained(name, **safe)
    except Exception as error:  # not in the cache, or damaged there
        if fetch is not None:
            return read(fetch(name))
        raise FileNotFoundError(
            f"The text tower needs the config.json of {told(name, 80)}. Copy it into {folder}; then no network is "
            "needed."
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
    extra = text.get("tokenizer_kwargs") or {}
    with foreign("The tokenizer_kwargs of open_clip_config.json are no options of a tokenizer", "Copy the file again."):
        extra = {str(key): value for key, value in dict(extra).items()}
    for key in ("bpe_path", "context_length", "tokenizer_mode"):  # a path somebody else wrote down; what is said above
        extra.pop(key, None)
    name = text.get("hf_tokenizer_name")
    if not name:
        own = [folder / BPE] if (folder / BPE).is_file() else []
        if own:
            extra["bpe_path"] = str(own[0])
        with foreign(f"The tokenizer of {folder} cannot be made", "Copy the tokenizer and configuration files again."):
            return SimpleTokenizer(context_length=length, **extra), list(own)
    place = next((one for one in (folder, folder / Path(name).name) if _has_tokenizer(one)), None)
    if place is None:
        if fetch is None:
            raise FileNotFoundError(
                f"The text tower needs the tokenizer of {told(name, 80)}. Copy its tokenizer.json, "
                f"tokenizer_config.json and vocab.txt into {folder}; then no network is needed."
            )
        place = fetch(name)
    safe = {"trust_remote_code": False, "local_files_only": True}
    mode = text.get("tokenizer_mode")
    with foreign(f"The tokenizer files in {place} cannot be read", "Copy them again."):
        made = HFTokenizer(str(place), context_length=length, tokenizer_mode=mode, **extra | safe)
    return made, [place / one for one in TOKENIZER_FILES if (place / one).is_file()]


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / one).is_file() for one in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model"))
