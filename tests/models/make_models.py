"""Small models with random weights, saved in the layouts that the hub and transformers use."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

MEAN, STD = (0.41, 0.42, 0.43), (0.21, 0.22, 0.23)
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
CONVNEXT = {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
TIMM_VIT = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"}
BERT_NAME = "somebody/Small-BERT"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *SPECIAL,
    *"abcde.",
    "image",
    "of",
    "the",
    "lung",
    "heart",
    "nodule",
    "##s",
    "##a",
    "##b",
    "normal",
    "eye",
    "skin",
]


def save_model(folder: Path, *, vision: dict = VIT, preprocess: dict | None = None, custom: bool = False) -> Path:
    """An open_clip model in open_clip's own layout."""
    cfg = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": dict(vision), "text_cfg": dict(TEXT)}
    torch.manual_seed(0)
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**cfg)
    if custom:
        cfg["custom_text"] = True
    return _write(folder, model, cfg, preprocess)


def save_coca(folder: Path) -> Path:
    """A CoCa, whose towers hand out tokens too."""
    text = {**TEXT, "embed_cls": True, "output_tokens": True}
    vision = {
        **VIT,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "attn_pooler_queries": 8,
        "output_tokens": True,
    }
    multi = {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 2,
    }
    cfg = {"embed_dim": 24, "multimodal_cfg": multi, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CoCa(**cfg)
    with torch.no_grad():  # open_clip leaves it as the memory was, which may be NaN
        model.text_decoder.text_projection.normal_()
    return _write(folder, model, {**cfg, "custom_text": True}, None)


def save_biomed(folder: Path, *, config: bool = True, tokenizer: bool = True) -> Path:
    """A model of BiomedCLIP's shape: timm ViT, BERT with a WordPiece vocabulary, weights in a .bin."""
    from transformers import BertConfig, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    bert = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    bert.save_pretrained(folder)
    text = {
        "hf_model_name": str(folder),
        "hf_model_pretrained": False,
        "hf_tokenizer_name": BERT_NAME,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 12,
    }
    cfg = {"embed_dim": 24, "vision_cfg": TIMM_VIT, "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**cfg)
    text["hf_model_name"] = BERT_NAME  # as published: a name on the hub, not a folder
    _write(folder, model, cfg, {"mean": MEAN, "std": STD}, safe=False)
    if tokenizer:
        (folder / "words.txt").write_text("\n".join(WORDS))
        BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    if not config:
        (folder / "config.json").unlink()
    return folder


def save_hf_clip(folder: Path, *, act: str = "quick_gelu", safe: bool = True):
    """A CLIPModel of transformers, as PLIP, PubMedCLIP and MONET are published; returns it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    see = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**text, "hidden_act": act, "max_position_embeddings": 16, "eos_token_id": 49407},
        vision_config={**see, "hidden_act": act, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():  # the initial biases are zero and would hide a mistake
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder, safe_serialization=safe)
    size = {"shortest_edge": 32}
    CLIPImageProcessor(image_mean=MEAN, image_std=STD, size=size, crop_size=32).save_pretrained(folder)
    return model


def same(one, other):
    """Two models that say the same."""
    pixels = torch.rand(2, 3, 50, 41, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(one.encode_image(pixels), other.encode_image(pixels), atol=1e-6)
        assert torch.allclose(one.encode_text(["a nodule"]), other.encode_text(["a nodule"]), atol=1e-6)


def _write(folder: Path, model, cfg: dict, preprocess: dict | None, *, safe: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"model_cfg": cfg, "preprocess_cfg": preprocess or {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    state = {name: one.contiguous() for name, one in model.state_dict().items()}
    if safe:
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    return folder
