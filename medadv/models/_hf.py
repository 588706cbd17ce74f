"""CLIP as transformers stores it, turned into open_clip's CLIP: other names, the same function."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from medadv.models._files import fill

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
    import open_clip

    with torch.random.fork_rng(devices=[]):  # building draws random weights; the caller's generator stays as it is
        model = open_clip.CLIP(**architecture(config))
    fill(model, rename(state), where="an HF CLIP model")
    return model


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


def preprocess_of(config: dict[str, Any]) -> dict[str, Any]:
    """Translate a preprocessor_config.json of transformers.

    Shapes   none.
    Units    mean and std in pixel units.
    Returns  dict with mean, std, resize_mode, interpolation as in open_clip; the size is the tower's.
    Raises   ValueError if mean or std are not in it.
    Source   transformers CLIPImageProcessor.
    """
    if not (config.get("image_mean") and config.get("image_std")):
        raise ValueError("preprocessor_config.json must say image_mean and image_std. Copy the model's own file.")
    size = config.get("size")
    squash = isinstance(size, dict) and "shortest_edge" not in size
    return {
        "mean": tuple(config["image_mean"]),
        "std": tuple(config["image_std"]),
        "resize_mode": "squash" if squash else "shortest",
        "interpolation": "bilinear" if config.get("resample", 3) == 2 else "bicubic",  # PIL's numbers
    }


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Translate the config.json of a transformers CLIPModel into open_clip's model_cfg.

    Shapes   none.
    Units    none.
    Returns  the arguments of open_clip.CLIP.
    Raises   ValueError if it is not the configuration of a CLIP with gelu or quick_gelu.
    Source   CLIPConfig of transformers, with its defaults.
    """
    see = _VISION | (config.get("vision_config") or {}) | (config.get("vision_config_dict") or {})
    say = _TEXT | (config.get("text_config") or {}) | (config.get("text_config_dict") or {})
    acts = {see["hidden_act"], say["hidden_act"]}
    if config.get("model_type") != "clip" or acts not in ({"gelu"}, {"quick_gelu"}):
        raise ValueError(
            f"config.json must be that of a CLIP with gelu or quick_gelu; got {config.get('model_type')} "
            f"with {sorted(acts)}. Only CLIPModel checkpoints of transformers can be read this way."
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


def _tower(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        # open_clip cuts width * ratio to an int; the half keeps it from falling one short.
        "mlp_ratio": (config["intermediate_size"] + 0.5) / config["hidden_size"],
        "norm_kwargs": {"eps": config["layer_norm_eps"]},
    }
