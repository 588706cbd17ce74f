from __future__ import annotations

import json
from types import SimpleNamespace

import make_models
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from medadv.models import VLM, load

FAMILIES = ["vit", "custom", "squash", "bilinear", "resnet", "convnext", "coca", "biomed"]
TEXT = ["a normal lung.", "image of a nodule", "b"]


@pytest.fixture(scope="module")
def theirs(folders, tmp_path_factory):
    """The same models as open_clip itself loads them."""
    return {name: _theirs(folders[name], tmp_path_factory.mktemp(name)) for name in FAMILIES}


def _theirs(folder, tmp_path):
    # The BERT's name is made a local folder, as one must there.
    config = json.loads((folder / "open_clip_config.json").read_text())
    if "hf_model_name" in config["model_cfg"]["text_cfg"]:
        copy = tmp_path / "copy"
        copy.mkdir()
        for one in folder.iterdir():
            (copy / one.name).write_bytes(one.read_bytes())
        config["model_cfg"]["text_cfg"]["hf_model_name"] = str(copy)
        (copy / "open_clip_config.json").write_text(json.dumps(config))
        folder = copy
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def picture(mode="RGB", wide=83, high=57):
    noise = np.random.default_rng(0).integers(0, 256, (high, wide, 4), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode) if mode != "RGBA" else Image.fromarray(noise)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_equal_open_clip(family, theirs, vlms):
    model, transform, tokenizer = theirs[family]
    vlm, pixels = vlms[family], torch.rand(3, 3, 83, 57)
    with torch.no_grad():
        image = F.normalize(model.encode_image(torch.stack([transform(one) for one in pixels])), dim=-1)
        text = F.normalize(model.encode_text(tokenizer(TEXT)), dim=-1)
        assert torch.allclose(vlm.encode_image(pixels), image, atol=1e-5)
        assert torch.allclose(vlm.encode_text(TEXT), text, atol=1e-5)
        assert torch.equal(vlm.tokenize(TEXT), tokenizer(TEXT))
        assert torch.allclose(vlm.encode_text(tokenizer(TEXT)), text, atol=1e-5)
    assert torch.isclose(vlm.scale, model.logit_scale.exp())
    assert vlm.scale.shape == ()


@pytest.mark.parametrize("family", ["vit", "squash", "bilinear", "biomed"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA"])
@pytest.mark.parametrize("size", [(83, 57), (57, 83), (31, 200), (32, 32), (20, 12)])
def test_pictures_equal_open_clip(family, mode, size, theirs, vlms):
    _, transform, _ = theirs[family]
    vlm, image = vlms[family], picture(mode, *size)
    own = vlm.pixels([image])
    assert own.shape == (1, 3, vlm.image_size, vlm.image_size)
    assert own.min() >= 0
    assert own.max() <= 1
    assert torch.allclose((own[0] - vlm.mean) / vlm.std, transform(image), atol=1e-5)


def test_pictures_of_other_kinds(vlms):
    array = np.asarray(picture())
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy()).float() / 255
    for name in ("vit", "squash", "bilinear"):
        want = vlms[name].pixels([picture()])
        assert torch.equal(vlms[name].pixels([array]), want)
        for other in (array / 255.0, tensor):  # without PIL's rounding to 8 bits
            assert (vlms[name].pixels([other]) - want).abs().max() < 0.02
    with pytest.raises(ValueError, match="at least one picture"):
        vlms["vit"].pixels([])


def test_mean_and_std_are_read_from_the_model(vlms):
    assert torch.allclose(vlms["vit"].mean.flatten(), torch.tensor(make_models.MEAN))
    assert torch.allclose(vlms["vit"].std.flatten(), torch.tensor(make_models.STD))


def test_a_model_that_does_not_say_its_mean_is_refused(vit):
    bare = open_clip.CLIP(24, make_models.VIT, make_models.TEXT)
    with pytest.raises(ValueError, match="without mean and std"):
        VLM(bare, vit.tokenizer)
    own = VLM(bare, vit.tokenizer, preprocess={"mean": 0.5, "std": (0.2, 0.2, 0.2)}, name="own")
    assert own.image_size == 32
    assert own.encode_image(torch.rand(1, 3, 32, 32)).shape == (1, 24)
    assert "own" in repr(own)
    with pytest.raises(ValueError, match="resize_mode shortest or squash"):
        VLM(bare, vit.tokenizer, preprocess={"mean": 0.5, "std": 0.2, "resize_mode": "longest"})


@pytest.mark.parametrize("family", ["vit", "convnext", "biomed"])
@pytest.mark.parametrize("size", [(70, 51), None])
def test_gradient_reaches_pixels(family, size, vlms):
    vlm = vlms[family]
    pixels = torch.rand(2, 3, *(size or (vlm.image_size,) * 2), requires_grad=True)
    (grad,) = torch.autograd.grad(vlm.encode_image(pixels)[:, 0].sum(), pixels)
    assert (grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert all(weight.grad is None for weight in vlm.parameters())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (torch.randn(1, 3, 32, 32) * 2, "Did you normalise"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "Divide uint8"),
        (torch.rand(1, 1, 32, 32), "Repeat a grey image"),
        (torch.rand(3, 32, 32), "Add the batch axis"),
        (np.zeros((1, 3, 32, 32)), "got ndarray"),
        (torch.full((1, 3, 32, 32), float("nan")), "values from nan"),
    ],
)
def test_anything_but_pixels_is_refused(bad, says, vit):
    for door in (vit.encode_image, vit.features):
        with pytest.raises(ValueError, match=says):
            door(bad)


def test_unit_length_float32_also_under_bf16(folders, vlms):
    half = load(f"local-dir:{folders['vit']}", device="cpu", dtype="bf16")
    pixels = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        for low, full in ((half.encode_image(pixels), vlms["vit"].encode_image(pixels)),
                          (half.encode_text(TEXT), vlms["vit"].encode_text(TEXT))):  # fmt: skip
            assert low.dtype == full.dtype == torch.float32
            assert torch.allclose(low.norm(dim=-1), torch.ones(len(low)), atol=1e-5)
            assert (low * full).sum(dim=-1).min() > 0.99
            assert not torch.equal(low, full)
        assert half.features(pixels)[0].dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(high=st.integers(8, 90), wide=st.integers(8, 90))
def test_any_size_fits(high, wide):
    """The crop is always the model's size, and equals torchvision's resize and crop on tensors."""
    from torchvision.transforms import v2

    from medadv.models._preprocess import fit, preprocessing

    image, bare = torch.rand(1, 3, high, wide), SimpleNamespace(visual=None)
    how = preprocessing(bare, {"size": 32, "mean": 0, "std": 1})
    want = v2.CenterCrop(32)(v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC, antialias=True)(image))
    assert torch.allclose(fit(image, how), want, atol=1e-5)
