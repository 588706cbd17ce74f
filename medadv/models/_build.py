"""From a configuration to a model: checked, drawn without memory, compared with the weights, and only then built."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medadv.models._files import check_fit, fill, foreign, told

_PARTS = ("vision_cfg", "text_cfg", "multimodal_cfg")


def check_config(whole: dict[str, Any], *, where: Path) -> dict[str, Any]:
    """Find the model_cfg of an open_clip_config.json, and refuse what open_clip would stumble over.

    Shapes   none.
    Units    none.
    Returns  the model_cfg itself, not a copy.
    Raises   ValueError for missing parts, parts of another kind, and keys that this open_clip does not know.
    Source   the configuration classes of the open_clip that is installed.
    """
    cfg = whole.get("model_cfg", whole)
    parts = [cfg.get(name) for name in _PARTS[:2]] if isinstance(cfg, dict) else []
    if not parts or "embed_dim" not in cfg or not all(isinstance(part, dict) for part in parts):
        raise ValueError(
            f"{where} must hold model_cfg with embed_dim and the dictionaries vision_cfg and text_cfg. "
            "Copy it again from where the model was published."
        )
    for name in ("preprocess_cfg", "multimodal_cfg"):
        owner = whole if name == "preprocess_cfg" else cfg
        if owner.get(name) is not None and not isinstance(owner[name], dict):
            raise ValueError(
                f"The {name} in {where} must be a dictionary; got {type(owner[name]).__name__}. Copy the file again."
            )
    text = cfg["text_cfg"]
    for name in ("hf_model_name", "hf_tokenizer_name", "tokenizer_mode"):
        if text.get(name) is not None and not isinstance(text[name], str):
            raise ValueError(f"The {name} in {where} must be a text; got {told(text[name], 40)}. Copy the file again.")
    length = text.get("context_length", 77)
    if type(length) is not int or length < 2:
        raise ValueError(
            f"The context_length in {where} must be a whole number of tokens, 2 or more; got {told(length, 40)}. "
            "Copy the file again."
        )
    _check_keys(cfg, where=where)
    return cfg


def kind_of(cfg: dict[str, Any]) -> Callable[..., Any]:
    """Say which of open_clip's models a model_cfg means."""
    import open_clip

    if not (cfg.get("custom_text") or cfg["text_cfg"].get("hf_model_name")):
        return open_clip.CLIP
    return open_clip.CoCa if "multimodal_cfg" in cfg else open_clip.CustomTextCLIP


def _check_keys(cfg: dict[str, Any], *, where: Path) -> None:
    import open_clip
    from open_clip.coca_model import MultimodalCfg

    of_part = dict(zip(_PARTS, (open_clip.CLIPVisionCfg, open_clip.CLIPTextCfg, MultimodalCfg), strict=True))
    known = {"model_cfg": set(inspect.signature(kind_of(cfg)).parameters) | {"custom_text"}}
    known |= {name: {one.name for one in fields(part)} for name, part in of_part.items() if is_dataclass(part)}
    for name in known:
        part = cfg if name == "model_cfg" else cfg.get(name) or {}
        unknown = sorted(told(key, 60) for key in part.keys() - known[name])
        if unknown:
            raise ValueError(
                f"The {name} in {where} must hold only keys that open_clip {open_clip.__version__} knows; got "
                f"'{unknown[0]}'. If the model was published for a newer one, run pip install --upgrade "
                "open_clip_torch; if the key is a slip, remove it."
            )


def build(
    cfg: dict[str, Any],
    state: dict[str, Tensor],
    *,
    where: str,
    weights: str,
    adapt: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] | None = None,
) -> Any:
    """Build the model of a model_cfg around the weights of a file.

    Shapes   as in the files.
    Units    none.
    Returns  a model of open_clip that holds the weights; the caller's random stream stays as it was.
    Raises   ValueError if open_clip cannot build it, or the weights do not fit it exactly. A configuration that asks
             for more memory than its weights need is refused before any is taken.
    Source   ours: on PyTorch's meta device a model has shapes and no numbers.
    """
    cfg = deepcopy(cfg)
    kind = kind_of(cfg)
    cfg.pop("custom_text", None)
    check_layers(cfg, len(state), where=where)
    for part, key in (("vision_cfg", "timm_model_pretrained"), ("text_cfg", "hf_model_pretrained")):
        cfg[part][key] = False
    if ":" in str(cfg["vision_cfg"].get("timm_model_name")):
        raise ValueError(
            f"The configuration in {where} names an image tower that has to be fetched from elsewhere, "
            f"{told(cfg['vision_cfg']['timm_model_name'], 60)!r}. Use a model that is whole."
        )
    what = f"The configuration in {where} cannot be built by open_clip"
    remedy = "Take configuration and weights from one and the same model."
    # Building draws random weights.
    with foreign(what, remedy), torch.random.fork_rng(devices=[]), torch.device("meta"):
        plan = kind(**deepcopy(cfg))
    state = adapt(state, plan) if adapt else state
    check_fit(plan.state_dict(), state, where=weights)
    held = sum(one.numel() * one.element_size() for one in state.values())
    asked = sum(one.numel() * one.element_size() for one in (*plan.parameters(), *plan.buffers()))
    if asked > 64 * held + 2**28:
        raise ValueError(f"{what} around {held} bytes of weights: it asks for {asked}. {remedy}")
    with foreign(what, remedy), torch.random.fork_rng(devices=[]):
        model = kind(**cfg)
    fill(model, state, where=weights)
    return model


def check_layers(cfg: Any, tensors: int, *, where: str) -> None:
    """Refuse more layers than there are tensors: building them one by one would never end.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   ValueError for such a number anywhere in the configuration.
    Source   ours.
    """
    for key, value in cfg.items():
        if isinstance(value, dict):
            check_layers(value, tensors, where=where)
        elif "layers" in str(key):
            counts = value if isinstance(value, list) else [value]
            if any(isinstance(one, (int, float)) and one > tensors for one in counts):
                raise ValueError(
                    f"The configuration in {where} asks for {told(value, 40)} {told(key, 40)}, the weights hold only "
                    f"{tensors} tensors. Take configuration and weights from one and the same model."
                )
