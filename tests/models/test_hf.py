from __future__ import annotations

import json

import make_models
import pytest
import torch
from safetensors.torch import load_file

from medadv.models import from_hf_clip, load


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("safe", [True, False])
def test_hf_clip_equals_transformers(act, safe, tmp_path):
    theirs = make_models.save_hf_clip(tmp_path, act=act, safe=safe)
    vlm = load(f"local-dir:{tmp_path}", device="cpu")
    tokens, pixels = vlm.tokenize(["a lung nodule", "b"]), torch.rand(2, 3, 32, 32)
    padded = torch.where(tokens == 0, 49407, tokens)  # transformers fills up with the end token
    with torch.no_grad():
        out = theirs(input_ids=padded, pixel_values=(pixels - vlm.mean) / vlm.std)
        assert torch.allclose(vlm.encode_image(pixels), out.image_embeds, atol=1e-5)
        assert torch.allclose(vlm.encode_text(tokens), out.text_embeds, atol=1e-5)
        logits = vlm.scale * vlm.encode_image(pixels) @ vlm.encode_text(tokens).T
        assert torch.allclose(logits, out.logits_per_image, atol=1e-4)


def test_hf_pictures_equal_the_processor(folders, vlms):
    from PIL import Image
    from transformers import CLIPImageProcessor

    noise = (torch.rand(47, 66, 3) * 255).byte().numpy()
    want = CLIPImageProcessor.from_pretrained(folders["hf"])(Image.fromarray(noise), return_tensors="pt").pixel_values
    got = (vlms["hf"].pixels([Image.fromarray(noise)]) - vlms["hf"].mean) / vlms["hf"].std
    assert torch.allclose(got, want, atol=1e-5)


def test_hf_clip_of_another_kind_is_refused(folders):
    config = json.loads((folders["hf"] / "config.json").read_text())
    state = load_file(folders["hf"] / "model.safetensors")
    with pytest.raises(ValueError, match="Only CLIPModel checkpoints"):
        from_hf_clip(state, config={**config, "model_type": "siglip"})
    for broken in (
        {key: one for key, one in state.items() if "layers.1.self_attn.k_proj.weight" not in key},
        {**state, "extra.weight": torch.zeros(1)},
        {**state, "text_projection.weight": torch.zeros(3, 3)},
    ):
        with pytest.raises(ValueError, match="must fit the architecture"):
            from_hf_clip(broken, config=config)
