"""A model in a folder, laid out as by open_clip or by transformers: read without a network, and written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from medadv.models._build import build, check_config
from medadv.models._files import WEIGHTS, find_weights, foreign, read_json, read_weights
from medadv.models._hf import architecture, from_hf_clip, preprocess_of
from medadv.models._preprocess import merged
from medadv.models._text import bert_config, make_tokenizer
from medadv.models.vlm import VLM

_log = logging.getLogger(__name__)

CONFIG = "open_clip_config.json"
FACTS = "adapted.json"
"""How an adapted model was made; its "sha256" names the files that belong together."""


def from_folder(
    folder: str | Path,
    *,
    config: dict[str, Any] | None = None,
    weights: tuple[str, ...] = WEIGHTS,
    fetch: Callable[[str], Path] | None = None,
) -> VLM:
    """Read a model from a folder, on the CPU and in evaluation mode.

    Shapes   none.
    Units    none.
    Returns  a VLM whose weights are exactly those of the file.
    Raises   FileNotFoundError for a missing file; ValueError for one that is damaged or does not fit.
    Source   the folder layouts of open_clip (open_clip_config.json) and transformers (config.json of a CLIP).
             `config` stands in for a missing open_clip_config.json; `fetch` gets a BERT's files by hub name.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"No model folder at {folder}. Give the folder that holds {CONFIG} and the weights.")
    if config is None and not (folder / CONFIG).is_file():
        if (folder / "config.json").is_file() and read_json(folder / "config.json").get("model_type") == "clip":
            return _from_hf_folder(folder)
        raise FileNotFoundError(
            f"No model in {folder}: it must hold {CONFIG}, or the config.json of an HF CLIP. "
            "Copy all files of the model."
        )
    whole = deepcopy(config or read_json(folder / CONFIG))
    kept = deepcopy(whole)
    cfg = check_config(whole, where=folder / CONFIG)
    path = find_weights(folder, names=weights)
    check_hashes(folder, file=path)
    state = read_weights(path)
    tokenizer, files = make_tokenizer(cfg["text_cfg"], folder=folder, fetch=fetch)
    with TemporaryDirectory() as place:
        if cfg["text_cfg"].get("hf_model_name"):
            bert_config(cfg["text_cfg"]["hf_model_name"], folder=folder, state=state, fetch=fetch).save_pretrained(
                place
            )
            files.append((Path(place) / "config.json").read_bytes())
            cfg["text_cfg"]["hf_model_name"] = place
        model = build(cfg, state, where=str(folder), weights=str(path), adapt=_adapt)
    return _finish(model, tokenizer, kept, files, where=folder)


def _from_hf_folder(folder: Path) -> VLM:
    config = read_json(folder / "config.json")
    cfg = architecture(config)
    how = read_json(folder / "preprocessor_config.json")
    preprocess = preprocess_of(how, size=cfg["vision_cfg"]["image_size"], where=folder / "preprocessor_config.json")
    model = from_hf_clip(read_weights(find_weights(folder, names=WEIGHTS[4:])), config=config)
    text = dict(cfg["text_cfg"])
    if text["vocab_size"] != 49408:  # another vocabulary than CLIP's own
        text["hf_tokenizer_name"] = "the folder"
    tokenizer, files = make_tokenizer(text, folder=folder, fetch=None)
    whole = {"model_cfg": {**cfg, "text_cfg": text}, "preprocess_cfg": preprocess}
    return _finish(model, tokenizer, whole, files, where=folder)


def _finish(model: Any, tokenizer: Any, config: dict[str, Any], files: list[Any], *, where: Path) -> VLM:
    from open_clip.transform import PreprocessCfg

    # What a configuration leaves out, and the size, are what open_clip would take.
    said = {key: value for key, value in (config.get("preprocess_cfg") or {}).items() if value is not None}
    how = merged({"mean": PreprocessCfg.mean, "std": PreprocessCfg.std, **said}, where=CONFIG)
    model.visual.preprocess_cfg = {**how, "size": model.visual.image_size}
    vlm = VLM(model, tokenizer)
    words = getattr(tokenizer, "vocab_size", None) or len(tokenizer.tokenizer)
    known = vlm.token_embedding().num_embeddings
    if words > known:
        raise ValueError(
            f"The tokenizer knows {words} tokens, the text tower only {known}. "
            "Take the tokenizer files of the same model."
        )
    longest = getattr(getattr(getattr(model, "text", None), "config", None), "max_position_embeddings", None)
    if longest is not None and vlm.context_length > longest:
        raise ValueError(
            f"The context_length of {CONFIG} must be at most {longest}, the places of the text tower; got "
            f"{vlm.context_length}. Copy the file again."
        )
    vlm.config, vlm.tokenizer_files = config, files
    _try_out(vlm.eval(), where=where)
    return vlm


def _try_out(vlm: VLM, *, where: Path) -> None:
    """Embed one image and one text: some configurations can be built and not run, or give NaN."""
    side, remedy = vlm.image_size, "Take configuration and weights from one and the same model."
    image = torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)
    with foreign(f"The model in {where} was read, but does not run", remedy), torch.no_grad():
        finite = all(bool(one.isfinite().all()) for one in (vlm.encode_image(image), vlm.encode_text(["a"])))
    if not finite:
        raise ValueError(f"The model in {where} must give finite embeddings; got NaN or infinity. {remedy}")


def sha256(path: Path) -> str:
    """Hash a file piece by piece."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def check_hashes(folder: Path, *, file: Path, warn: bool = True) -> None:
    """Compare a file of an adapted model with the hash that was written down when the model was.

    Shapes   none.
    Units    none.
    Returns  nothing; a folder that does not say how it was made is not checked.
    Raises   ValueError if the file is another one: its numbers would be reported as those of the adapted model.
    Source   ours. Folders from before the hashes were kept are read with a warning.
    """
    if not (folder / FACTS).is_file():
        return
    known = read_json(folder / FACTS).get("sha256")
    if known is None:
        if warn:
            _log.warning("%s holds no hashes: whether its files are still those of the model is not checked", folder)
        return
    if not isinstance(known, dict) or known.get(file.name) != sha256(file):
        raise ValueError(
            f"The file {file} is not the one that {FACTS} names: it was replaced or changed after the model was "
            "adapted. Copy the whole folder again, or adapt the new weights with medadv train."
        )


def _adapt(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Even out the differences between generations of open_clip checkpoints, as open_clip does."""
    own = model.state_dict().keys()
    state = {name: one for name, one in state.items() if name in own or not name.endswith("position_ids")}
    if not any(name.startswith("text.") for name in state):  # UniMed-CLIP's fork calls the text tower so
        state = {
            f"text.{name.removeprefix('text_encoder.')}" if name.startswith("text_encoder.") else name: one
            for name, one in state.items()
        }
    if "positional_embedding" in state and "positional_embedding" not in own:
        from open_clip.model import convert_to_custom_text_state_dict

        state = convert_to_custom_text_state_dict(state)
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
    return state


def save_folder(vlm: VLM, *, folder: str | Path) -> Path:
    """Write a model that came from a folder or the hub, so that "local-dir:" reads it after more training.

    Shapes   none.
    Units    none.
    Returns  the folder; its files are complete or not there, the configuration is written last.
    Raises   ValueError if the model was put together by hand and its configuration is not known.
    Source   the folder layout of open_clip.
    """
    from safetensors.torch import save_file

    if not getattr(vlm, "config", None):
        raise ValueError("The 'vlm' parameter of save_folder must come from load or from_folder; got one made by hand.")
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: one.detach().cpu().contiguous() for name, one in vlm.model.state_dict().items()}
    with TemporaryDirectory(dir=folder) as place:
        here = Path(place)
        for one in vlm.tokenizer_files:
            if isinstance(one, bytes):
                (here / "config.json").write_bytes(one)
            elif one.is_file():
                shutil.copyfile(one, here / one.name)
        save_file(state, here / WEIGHTS[0], metadata={"format": "pt"})
        (here / CONFIG).write_text(json.dumps(vlm.config, indent=2), encoding="utf-8")
        for one in sorted(here.iterdir(), key=lambda path: path.name == CONFIG):
            os.replace(one, folder / one.name)
    return folder
