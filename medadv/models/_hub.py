"""The Hugging Face hub: fetch a model's folder into the local cache, or say in one sentence why not."""

from __future__ import annotations

from pathlib import Path

from medadv.models._files import WEIGHTS
from medadv.models._text import TOKENIZER_FILES

_SMALL = ("open_clip_config.json", "config.json", "preprocessor_config.json", *TOKENIZER_FILES)


def fetch_model(repo: str, *, weights: tuple[str, ...] = WEIGHTS) -> Path:
    """Fetch configuration, tokenizer and the best weight file of a model; a cached copy serves when offline.

    Shapes   none.
    Units    none.
    Returns  the folder in the cache of huggingface_hub.
    Raises   OSError that names the files needed and the offline way.
    Source   huggingface_hub.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        there = set(HfApi().list_repo_files(repo))
        best = [one for one in weights if one in there][:1]
        return Path(snapshot_download(repo, allow_patterns=[*best, *(one for one in _SMALL if one in there)]))
    except Exception as online:  # requests, urllib3 and huggingface_hub raise many kinds
        try:
            return Path(snapshot_download(repo, local_files_only=True))
        except Exception:
            kinds = ", ".join(weights[:5:4])  # one of open_clip, one of transformers
            raise OSError(
                f"Could not fetch {repo} from the Hugging Face hub ({_why(online)}). Put its configuration "
                "(open_clip_config.json, or config.json and preprocessor_config.json), its weights "
                f"({kinds}) and tokenizer files into a folder and load 'local-dir:FOLDER', "
                "which works offline."
            ) from online


def fetch_text(repo: str) -> Path:
    """Fetch the configuration and the tokenizer of a text tower, never its weights.

    Shapes   none.
    Units    none.
    Returns  the folder in the cache of huggingface_hub.
    Raises   OSError that names the files needed and the offline way.
    Source   huggingface_hub.
    """
    from huggingface_hub import snapshot_download

    for offline in (True, False):
        try:
            found = Path(snapshot_download(repo, allow_patterns=list(_SMALL), local_files_only=offline))
        except Exception as error:
            reason = error
        else:
            if (found / "config.json").is_file():
                return found
            reason = FileNotFoundError("config.json")
    raise OSError(
        f"Could not fetch the text tower's files of {repo} from the Hugging Face hub ({_why(reason)}). "
        "Put its config.json and tokenizer files beside the model's weights and load 'local-dir:FOLDER', "
        "which works offline."
    ) from reason


def _why(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return "access must be granted on its page first; then log in with `hf auth login`"
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return "there is no such repository, or it is private"
    return f"no connection, or a file is missing there: {type(error).__name__}"
