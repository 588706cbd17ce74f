"""How a model of transformers wants its images: as CLIPImageProcessor, to 1e-5, or refused by name."""

from __future__ import annotations

import json

import make_models
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPImageProcessorFast

from medadv.models import VLM, load
from medadv.models._hf import preprocess_of

PLAIN = {
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(make_models.MEAN),
    "image_std": list(make_models.STD),
    "do_convert_rgb": True,
    "image_processor_type": "CLIPImageProcessor",
}
IN_BYTES = {"image_mean": [123.7, 116, 103.5], "image_std": [58, 57.1, 57.4]}
CARRIED_OUT = {
    "plain": {},
    "no rescale": {"do_rescale": False},
    "no rescale, mean in 0..255": {"do_rescale": False, **IN_BYTES},
    "no normalize": {"do_normalize": False},
    "neither": {"do_rescale": False, "do_normalize": False, "image_mean": None},
    "another factor": {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": 1},
    "an old size": {"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"},
    "a larger edge": {"size": {"shortest_edge": 40}},
    "an odd larger edge": {"size": {"shortest_edge": 41}},
    "squashed": {"size": {"height": 32, "width": 32}},
    "squashed, then cropped": {"size": {"height": 37, "width": 37}},
    "squashed, no crop": {"size": {"height": 32, "width": 32}, "do_center_crop": False},
    "no resize": {"do_resize": False},
    **{f"resample {number}": {"resample": number, "size": {"shortest_edge": 35}} for number in (0, 1, 2, 4, 5)},
    "no conversion": {"do_convert_rgb": False, "processor_class": "CLIPProcessor", "default_to_square": False},
}
SIZES = [(67, 45), (33, 90), (32, 32)]


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    """A CLIPModel of transformers, the folder it is in, and the same model here."""
    folder = tmp_path_factory.mktemp("hf")
    theirs = make_models.save_hf_clip(folder)
    return theirs, folder, load(f"local-dir:{folder}", device="cpu")


def with_config(vlm, changes):
    how = preprocess_of({**PLAIN, **changes}, size=32, where="preprocessor_config.json")
    return VLM(vlm.model, vlm.tokenizer, preprocess={**how, "size": 32}).eval()


def features(model, pixels):
    with torch.no_grad():
        return torch.nn.functional.normalize(model.get_image_features(pixel_values=pixels.float()), dim=-1)


def photo(wide, high, seed=0):
    """A smooth colour gradient under noise: resizing matters, and rounding to 8 bits matters little."""
    y, x = np.mgrid[:high, :wide]
    noise = np.random.default_rng(seed).integers(-40, 41, (high, wide, 3))
    return np.clip(np.stack([x * 255 / wide, y * 255 / high, (x + y) % 256], axis=2) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CARRIED_OUT)
def test_pictures_give_the_features_of_clip_image_processor(name, size, hf):
    theirs, _, plain = hf
    changes = CARRIED_OUT[name]
    vlm, image = with_config(plain, changes), Image.fromarray(photo(*size))
    processor = CLIPImageProcessor(**{**PLAIN, **changes})
    want = features(theirs, processor(image, return_tensors="pt").pixel_values)
    with torch.no_grad():
        assert torch.allclose(vlm.encode_image(vlm.pixels([image])), want, atol=1e-5)
        assert torch.allclose(vlm.encode_image(vlm.pixels([np.asarray(image)])), want, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [one for one in CARRIED_OUT if one not in ("resample 1", "resample 4", "resample 5")])
def test_tensors_give_the_features_of_the_processor_on_tensors(name, size, hf):
    """CLIPImageProcessorFast resizes float tensors without rounding, as attacks need it."""
    theirs, _, plain = hf
    changes = CARRIED_OUT[name]
    vlm, image = with_config(plain, changes), torch.from_numpy(photo(*size)).permute(2, 0, 1)
    kind = CLIPImageProcessor if name == "resample 0" else CLIPImageProcessorFast  # torch has another
    config = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    given = image.float() if kind is CLIPImageProcessorFast else image.permute(1, 2, 0).numpy()
    want = features(theirs, kind(**config)(given, return_tensors="pt").pixel_values)
    with torch.no_grad():
        assert torch.allclose(vlm.encode_image(image[None] / 255), want, atol=1e-5)


@pytest.mark.parametrize("number", [1, 4, 5])
def test_filters_that_torch_lacks_resize_tensors_as_pil_does(number, hf):
    vlm, image = with_config(hf[2], CARRIED_OUT[f"resample {number}"]), photo(67, 45)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    channels = [Image.fromarray(one.numpy(), "F") for one in tensor[0]]
    wide = [np.asarray(one.resize((int(35 * 67 / 45), 35), number)) for one in channels]
    want = torch.from_numpy(np.stack(wide))[:, 1:33, 10:42]
    assert torch.allclose(vlm._prepare(tensor)[0] * vlm.std + vlm.mean, want, atol=1e-5)
    point = tensor.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(vlm.encode_image(point)[0, 0], point)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "CMYK"])
def test_pictures_become_rgb_before_they_are_resized(mode, hf):
    theirs, _, plain = hf
    image = Image.fromarray(photo(67, 45)).convert(mode)
    want = features(theirs, CLIPImageProcessor(**PLAIN)(image, return_tensors="pt").pixel_values)
    vlm = with_config(plain, {})
    with torch.no_grad():
        assert torch.allclose(vlm.encode_image(vlm.pixels([image])), want, atol=1e-5)


REFUSED = {
    "a smaller edge": ({"size": {"shortest_edge": 24}}, "size and crop_size in"),
    "another crop": ({"crop_size": {"height": 24, "width": 24}}, "size and crop_size in"),
    "an oblong": ({"size": {"height": 40, "width": 48}}, "size and crop_size in"),
    "a longest edge": ({"size": {"longest_edge": 32}}, "size and crop_size in"),
    "no size at all": ({"size": "large"}, "size and crop_size in"),
    "edges without crop": ({"do_center_crop": False, "size": {"shortest_edge": 40}}, "size and crop_size in"),
    "mean in 0..255": (IN_BYTES, r"'image_mean' in .* Divide by 255"),
    "std in 0..255": ({"image_std": 58}, r"'image_std' in .* Divide by 255"),
    "no std": ({"image_std": [0.2, 0, 0.2]}, "'image_std' in"),
    "four channels": ({"image_mean": [0.5] * 4}, "'image_mean' in .* must be three numbers"),
    "words": ({"image_mean": ["a", "b", "c"]}, "'image_mean' in"),
    "no mean": ({"image_mean": None}, "must say image_mean and image_std"),
    "a flag in words": ({"do_resize": "yes"}, "must be true or false"),
    "no factor": ({"rescale_factor": 0}, "rescale_factor in"),
    "no filter": ({"resample": 6}, "resample one of 0 to 5"),
    "a new key": ({"do_pan_and_scan": True}, "'do_pan_and_scan' in .* may change the pixels"),
    "padding": ({"do_pad": True}, "'do_pad' in"),
    "another processor": ({"image_processor_type": "SiglipImageProcessor"}, "must be a CLIPImageProcessor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_carried_out_is_refused_by_name(name, hf):
    changes, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        with_config(hf[2], changes)


def test_images_that_do_not_come_out_in_the_size_of_the_tower_are_refused(hf):
    vlm = with_config(hf[2], {"do_resize": False, "do_center_crop": False})
    assert vlm.encode_image(torch.rand(1, 3, 32, 32)).shape == (1, 24)
    with pytest.raises(ValueError, match=r"must come out as 32 x 32.*Resize the images to 32 x 32 first"):
        vlm.encode_image(torch.rand(1, 3, 32, 33))
    with pytest.raises(ValueError, match=r"must come out as 32 x 32"):
        with_config(hf[2], {"do_resize": False}).encode_image(torch.rand(1, 3, 31, 80))


def test_a_folder_is_read_and_written_with_its_own_preprocessing(hf, tmp_path):
    from medadv.models import save_folder

    theirs, folder, _ = hf
    config = {**PLAIN, "do_rescale": False, "size": {"shortest_edge": 40}, "resample": 0}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    vlm, image = load(f"local-dir:{folder}", device="cpu"), Image.fromarray(photo(67, 45))
    want = features(theirs, CLIPImageProcessor(**config)(image, return_tensors="pt").pixel_values)
    assert vlm.image_size == 40
    again = load(f"local-dir:{save_folder(vlm, folder=tmp_path / 'new')}", device="cpu")
    for one in (vlm, again):
        with torch.no_grad():
            assert torch.allclose(one.encode_image(one.pixels([image])), want, atol=1e-5)


OPEN_CLIP = [
    ({"mean": [0, 0, 0], "std": [1, 1, 1]}, None),
    ({"mean": 0.5, "std": 1, "interpolation": "random"}, None),
    ({"mean": [0.5] * 3, "std": [0.5] * 3, "size": [32, 32], "fill_color": 255, "mode": "RGB"}, None),
    ({"mean": None, "std": None, "interpolation": None, "resize_mode": None}, None),
    ({"mean": [0.5] * 4, "std": [0.5] * 4}, "must be three numbers"),
    ({"mean": [0.5] * 3, "std": [0.5, 0.0, 0.5]}, "'std' in"),
    ({"mean": [float("nan")] * 3, "std": 1}, "'mean' in"),
    ({"mean": IN_BYTES["image_mean"], "std": IN_BYTES["image_std"]}, "Divide by 255"),
    ({"interpolation": "cubic"}, "interpolation bicubic or bilinear"),
    ({"resize_mode": "longest"}, "resize_mode shortest or squash"),
    ({"mode": "BGR"}, "must ask for RGB"),
    ({"gamma": 2.2}, "'gamma', which may change the pixels"),
    ([1, 2], "preprocess_cfg in .* must be a dictionary"),
]


@pytest.mark.parametrize(("cfg", "says"), OPEN_CLIP)
def test_preprocess_cfg_of_open_clip_is_carried_out_or_refused(cfg, says, copy):
    import open_clip

    folder = copy("vit")
    whole = json.loads((folder / "open_clip_config.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps({**whole, "preprocess_cfg": cfg}))
    if says is not None:
        with pytest.raises(ValueError, match=says):
            load(f"local-dir:{folder}", device="cpu")
        return
    vlm, image = load(f"local-dir:{folder}", device="cpu"), Image.fromarray(photo(67, 45))
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert torch.allclose((vlm.pixels([image])[0] - vlm.mean) / vlm.std, transform(image), atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "a larger edge", "squashed", "resample 0", "resample 1"])
@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1)])
def test_a_strip_costs_no_more_than_the_square_that_is_kept(name, shape, hf, monkeypatch):
    """A picture of 9000 x 1 would be resized to two million columns at 224 px."""
    vlm = with_config(hf[2], CARRIED_OUT[name])
    whole = Image.Image.resize

    def watched(self, size, *args, **more):
        assert max(size) < 1000, "the whole strip was resized"
        return whole(self, size, *args, **more)

    monkeypatch.setattr(Image.Image, "resize", watched)
    picture = Image.fromarray(photo(shape[1], shape[0]))
    pixels = vlm.pixels([picture])
    assert pixels.shape == (1, 3, vlm.image_size, vlm.image_size)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    assert (vlm.pixels([tensor]) - pixels).abs().max() < 0.01
