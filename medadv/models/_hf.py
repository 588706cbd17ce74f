"""CLIP as transformers stores it, turned into open_clip's CLIP: other names, the same function."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medadv.models._build import build
from medadv.models._files import told
from medadv.models._preprocess import LEAST_STD, MOST, RESAMPLE, is_number, three

_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "logit_scale": "logit_scale",
}
_NORMS = {
    "vision_model.pre_layrnorm": "visual.ln_pre",  # misspelt in transformers, and so in every file
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}
_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# What transformers leaves out of config.json where it is the default.
_VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_VISION |= {"image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_TEXT: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
}
_TEXT |= {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_TEXT |= {"eos_token_id": 49407}


def from_hf_clip(state: dict[str, Tensor], *, config: dict[str, Any]) -> Any:
    """Build open_clip's CLIP from the weights and the config.json of a transformers CLIPModel.

    Shapes   as in the files.
    Units    none.
    Returns  open_clip.CLIP; embeddings equal those of CLIPModel.
    Raises   ValueError if the configuration is no CLIP of this kind or the weights do not fit it.
    Source   transformers CLIPModel and open_clip CLIP; q, k and v are joined, projections transposed.
    """
    return build(architecture(config), rename(state), where="config.json", weights="an HF CLIP model")


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a transformers CLIPModel the names and shapes of open_clip.

    Shapes   q, k, v (W, W) become one (3W, W); projections (D, W) become (W, D).
    Units    none.
    Returns  a new dictionary; names it does not know are kept, so that the comparison reports them.
    Raises   nothing.
    Source   ours.
    """
    done: dict[str, Tensor] = {}
    for name, value in state.items():
        layer = _LAYER.fullmatch(name)
        if name.endswith("position_ids"):
            continue
        if layer:
            tower, number, part, kind = layer.groups()
            block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}."
            if part == "self_attn.q_proj":
                near = [name.replace("q_proj", f"{one}_proj") for one in "qkv"]
                if all(one in state for one in near):
                    done[f"{block}attn.in_proj_{kind}"] = torch.cat([state[one] for one in near])
            elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
                done[f"{block}{_PARTS.get(part, part)}.{kind}"] = value
        elif name in ("visual_projection.weight", "text_projection.weight"):
            done["visual.proj" if name.startswith("visual") else "text_projection"] = value.T.contiguous()
        else:
            stem, _, kind = name.rpartition(".")
            done[_NAMES.get(name, f"{_NORMS.get(stem, stem)}.{kind}" if stem else name)] = value
    return done


# What a preprocessor_config.json may say beside what is carried out, and the values that change nothing.
_IDLE: dict[str, tuple[Any, ...]] = {
    "data_format": (None, "channels_first"),
    "default_to_square": (None, False),
    "do_pad": (None, False),
    "use_square_size": (None, False),
}
_ABOUT = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "_valid_processor_keys", "use_fast"),
    *("transformers_version", "_commit_hash", "name_or_path", "disable_grouping", "return_tensors"),
}
_PROCESSORS = (None, "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor")
_FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


def preprocess_of(config: dict[str, Any], *, size: int, where: Path | str) -> dict[str, Any]:
    """Translate a preprocessor_config.json of transformers.

    Shapes   none.
    Units    mean and std for pixels in [0, 1], whatever the file rescales to.
    Returns  a preprocess_cfg as `merged` knows it, for a tower of `size`; open_clip itself reads it as near as it can.
    Raises   ValueError for keys and values that would change the pixels in a way we do not have, and for images that
             would not come out in the size of the tower.
    Source   transformers CLIPImageProcessor, with its defaults; mean and std are never guessed.
    """
    _check_processor(config, where=where)
    does = {flag: config.get(flag, True) for flag in _FLAGS}
    factor, resample = config.get("rescale_factor", 1 / 255), config.get("resample", 3)
    if any(not isinstance(one, bool) for one in does.values()):
        raise ValueError(f"The keys {', '.join(_FLAGS)} in {where} must be true or false. Correct the file.")
    if not is_number(factor) or factor <= 0 or type(resample) is not int or not 0 <= resample < len(RESAMPLE):
        raise ValueError(
            f"The rescale_factor in {where} must be a positive number and resample one of 0 to 5, a filter of PIL; got "
            f"{told(factor, 40)} and {told(resample, 40)}. Correct the file."
        )
    # (255 x f - mean) / std = (x - mean / 255 f) / (std / 255 f) for pixels x in [0, 1]
    unit = 255 * (factor if does["do_rescale"] else 1.0)
    mean, std = (0.0,) * 3, (1.0,) * 3
    if does["do_normalize"]:
        if config.get("image_mean") is None or config.get("image_std") is None:
            raise ValueError(f"{where} must say image_mean and image_std. Copy the model's own file.")
        mean = three(config["image_mean"], name="image_mean", where=str(where), low=-1.5 * unit, high=2 * unit)
        std = three(config["image_std"], name="image_std", where=str(where), low=LEAST_STD * unit, high=10 * unit)
    return {
        "mean": [one / unit for one in mean],
        "std": [one / unit for one in std],
        "interpolation": RESAMPLE[resample],
        "rgb_first": True,
        **_sizes(config, does, size=size, where=where),
    }


def _check_processor(config: dict[str, Any], *, where: Path | str) -> None:
    kind = config.get("image_processor_type") or config.get("feature_extractor_type")
    if kind not in _PROCESSORS:
        raise ValueError(
            f"The image processor in {where} must be a CLIPImageProcessor; got {told(kind, 60)}, which may treat "
            "pixels in another way. Use a CLIP of transformers with its own preprocessor_config.json."
        )
    known = {"size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std", *_FLAGS, *_ABOUT}
    for key, value in config.items():
        if key not in known and value is not None and value not in _IDLE.get(key, ()):
            raise ValueError(
                f"The key {key[:60]!r} in {where} may change the pixels, and what it does is not known here; got "
                f"{told(value, 40)}. Remove it if it changes nothing, or upgrade medadv."
            )


def _sizes(config: dict[str, Any], does: dict[str, bool], *, size: int, where: Path | str) -> dict[str, Any]:
    """Read how an image is resized and cropped to the size of the tower."""
    given = config.get("size", 224)
    given = {"shortest_edge": given} if isinstance(given, int) else given
    given = dict(zip(("height", "width"), given, strict=False)) if isinstance(given, list) else given
    cut = config.get("crop_size", 224)
    cut = [cut.get("height"), cut.get("width")] if isinstance(cut, dict) and len(cut) == 2 else cut
    cut = cut if isinstance(cut, list) else [cut, cut]
    sides = list(given.values()) if isinstance(given, dict) else [None]
    known = isinstance(given, dict) and set(given) in ({"shortest_edge"}, {"height", "width"}) and sides[0] == sides[-1]
    before = sides[0] if known else None
    fits = not does["do_resize"] or (type(before) is int and size <= before <= MOST * size)
    fits &= cut == [size, size] if does["do_center_crop"] else before == size or not does["do_resize"]
    if not fits:
        raise ValueError(
            f"The size and crop_size in {where} must bring an image to {size} x {size}, the size of the tower: size "
            f"one shortest_edge, or equal height and width, of {size} to {MOST * size}, and crop_size {size}; got size "
            f"{told(config.get('size'), 60)} and crop_size {told(config.get('crop_size'), 60)} with do_resize "
            f"{does['do_resize']} and do_center_crop {does['do_center_crop']}. Copy the model's own file."
        )
    mode = "shortest" if known and "shortest_edge" in given else "squash"
    return {
        "resize_mode": mode if does["do_resize"] else "none",
        "resize_size": before if does["do_resize"] else size,
        "crop": "floor" if does["do_center_crop"] else "none",
    }


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Translate the config.json of a transformers CLIPModel into open_clip's model_cfg.

    Shapes   none.
    Units    none.
    Returns  the arguments of open_clip.CLIP.
    Raises   ValueError if it is not the configuration of a CLIP with gelu or quick_gelu.
    Source   CLIPConfig of transformers, with its defaults.
    """
    see, say = _part(config, "vision_config", _VISION), _part(config, "text_config", _TEXT)
    acts = {str(see["hidden_act"]), str(say["hidden_act"])}
    if config.get("model_type") != "clip" or acts not in ({"gelu"}, {"quick_gelu"}):
        raise ValueError(
            f"config.json must be that of a CLIP with gelu or quick_gelu; got {told(config.get('model_type'), 40)} "
            f"with {told(', '.join(sorted(acts)), 80)}. Only CLIPModel checkpoints of transformers can be read this "
            "way."
        )
    last = say["vocab_size"] - 1
    end = say["eos_token_id"]
    # transformers, too, takes the highest token where eos_token_id is the old, wrong 2.
    pool = {} if end in (2, last) else {"pool_type": "eos", "eos_id": end}
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": acts == {"quick_gelu"},
        "vision_cfg": {
            "image_size": see["image_size"],
            "patch_size": see["patch_size"],
            "head_width": see["hidden_size"] // see["num_attention_heads"],
            **_tower(see),
        },
        "text_cfg": {
            "context_length": say["max_position_embeddings"],
            "vocab_size": say["vocab_size"],
            "heads": say["num_attention_heads"],
            **_tower(say),
            **pool,
        },
    }


def _part(config: dict[str, Any], name: str, default: dict[str, Any]) -> dict[str, Any]:
    """Read one tower's part of config.json over the defaults; each number in it must be one."""
    whole = dict(default)
    for key in (name, f"{name}_dict"):
        given = config.get(key) or {}
        if not isinstance(given, dict):
            raise ValueError(f"The {key} of config.json must be a dictionary; got {told(given, 40)}. Copy it again.")
        whole |= given
    odd = [
        key
        for key, usual in default.items()
        if not isinstance(usual, str)
        and not (is_number(whole[key]) and whole[key] > 0 and (isinstance(usual, float) or type(whole[key]) is int))
    ]
    if odd:
        raise ValueError(
            f"The {name} of config.json must hold a positive number as {odd[0]}; got {told(whole[odd[0]], 40)}. "
            "Copy the file again."
        )
    return whole


def _tower(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        # open_clip cuts width * ratio to an int; the half keeps it from falling one short.
        "mlp_ratio": (config["intermediate_size"] + 0.5) / config["hidden_size"],
        "norm_kwargs": {"eps": config["layer_norm_eps"]},
    }
