"""What a model wants its images to look like: read from the model, carried out on pixels and on pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medadv._images import check_pixels, resize_and_crop, to_pixels
from medadv.models._files import told

RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""The filters of PIL in the order of their numbers."""
MOST = 16
"""An image is resized to at most this many times the tower; a wrong number must not fill the memory."""
LEAST_STD = 1e-4
"""Dividing by less than this, where pixels are in [0, 1], overflows in the model."""
_LARGEST = 8192
_DEFAULT: dict[str, Any] = {
    "mean": None,
    "std": None,
    "size": None,
    "mode": "RGB",
    "fill_color": 0,  # only pads, and neither mode of resizing does
    "resize_mode": "shortest",
    "interpolation": "bicubic",
    # Ours, for models of transformers: open_clip crops what it has resized to the size of the tower, rounds the corner
    # of the crop, and makes a picture RGB at the end.
    "resize_size": None,
    "crop": "round",
    "rgb_first": False,
}


def is_number(value: Any) -> bool:
    """Tell whether a value out of a JSON file is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e30 < value < 1e30


def three(value: Any, *, name: str, where: str, low: float, high: float) -> tuple[float, float, float]:
    """Read a mean or a standard deviation: three numbers, or one for all channels.

    Shapes   none.
    Units    pixel units, images in [0, 1].
    Returns  three floats.
    Raises   ValueError for anything but numbers within the bounds, the lower one excluded.
    Source   ours.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # arrays and tensors
    whole = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(whole) != 3 or not all(is_number(one) and low < one <= high for one in whole):
        raise ValueError(
            f"The '{name}' in {where} must be three numbers (or one) above {low:g} and up to {high:g}, for pixels in "
            f"[0, 1]; got {told(value, 80)}. Divide by 255 what was written for pixels in 0..255."
        )
    return tuple(float(one) for one in whole)  # type: ignore[return-value]


def merged(given: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Put what is left out of a preprocess_cfg where open_clip would, and refuse what it would drop without a word.

    Shapes   none.
    Units    none.
    Returns  a new dictionary with every key.
    Raises   ValueError for keys that are not known.
    Source   merge_preprocess_dict of open_clip, where null counts as left out.
    """
    unknown = sorted(str(key) for key in given.keys() - _DEFAULT.keys())
    if unknown:
        raise ValueError(
            f"The preprocess_cfg in {where} must hold only {', '.join(list(_DEFAULT)[:7])}; got {unknown[0][:60]!r}, "
            "which may change the pixels. Remove the key if it does not, or upgrade medadv."
        )
    return _DEFAULT | {key: value for key, value in given.items() if value is not None}


def preprocessing(model: Any, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read how the model wants its images; mean and std are never guessed.

    Shapes   none.
    Units    mean and std in pixel units.
    Returns  dict with mean, std, size (int, of the tower), resize_size (before the crop; None for size), resize_mode,
             interpolation, crop and rgb_first.
    Raises   ValueError if mean or std are nowhere said, or if a value is one we do not have.
    Source   open_clip's PreprocessCfg; `given` wins over what the model carries.
    """
    own = merged({**(getattr(model.visual, "preprocess_cfg", None) or {}), **(given or {})}, where="a model")
    missing = [key for key in ("mean", "std") if own[key] is None]
    if missing:
        raise ValueError(
            f"The 'model' parameter of VLM must carry its preprocessing; "
            f"got one without {' and '.join(missing)}. Pass preprocess={{'mean': (...), 'std': (...)}}."
        )
    size = own["size"] or model.visual.image_size
    sizes = {str(one): one for one in (size if isinstance(size, (list, tuple)) else [size])}
    side = next(iter(sizes.values()), 0)
    modes = (own["resize_mode"], own["interpolation"])
    before = side if own["resize_size"] is None else own["resize_size"]
    ok = len(sizes) == 1 and all(type(one) is int and 0 < one <= _LARGEST for one in (side, before))
    ok = ok and side <= before <= MOST * side
    known = modes[0] in ("shortest", "squash", "none") and modes[1] in (*RESAMPLE, "random") and own["mode"] == "RGB"
    if not ok or not known or own["crop"] not in ("round", "floor", "none") or not isinstance(own["rgb_first"], bool):
        raise ValueError(
            "The 'preprocess' parameter of VLM must ask for RGB, one square size, resize_mode shortest or squash, "
            f"and interpolation bicubic or bilinear; got {told(own['mode'], 20)}, size {told(size, 40)}, "
            f"{told(modes[0], 20)}, {told(modes[1], 20)}. Correct the configuration, or use another model."
        )
    return {
        **own,
        "mean": three(own["mean"], name="mean", where="the model's preprocess_cfg", low=-1.5, high=2),
        "std": three(own["std"], name="std", where="the model's preprocess_cfg", low=LEAST_STD, high=10),
        "size": side,
    }


def input_size(how: dict[str, Any]) -> int:
    """Return the side of an image that is only cropped, never resized: what `pixels` makes of a picture."""
    return how["size"] if how["resize_mode"] == "none" else how["resize_size"] or how["size"]


def unusual(how: dict[str, Any]) -> str:
    """Say how a model wants its pictures where the images of a data set, resized and cropped before, differ."""
    ways = {"squash": "squashed into a square", "none": "not resized"}
    if how["resize_mode"] in ways:
        return ways[how["resize_mode"]]
    return "" if _filter(how) == "bicubic" else f"resized with the filter {_filter(how)}"


def _placed(how: dict[str, Any], high: int, wide: int, *, keep: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Say to which (height, width) an image is resized, and at which (top, left) the kept square lies."""
    size, before = how["size"], input_size(how)
    new = (before, before)
    if how["resize_mode"] == "none":
        new = (high, wide)
    elif how["resize_mode"] == "shortest":  # the longer side is cut down to int, as torchvision does
        new = (int(before * high / wide), before) if wide <= high else (before, int(before * wide / high))
    if min(new) < size or (how["crop"] == "none" and new != (size, size)):
        raise ValueError(
            f"The image must come out as {size} x {size}, and the preprocessing of this model (resize_mode "
            f"{how['resize_mode']}, crop {how['crop']}) makes it {new[0]} x {new[1]}. Resize the images to "
            f"{input_size(how)} x {input_size(how)} first."
        )

    def edge(length: int) -> int:
        return (length - size) // 2 if how["crop"] == "floor" else round((length - size) / 2)

    inner = edge(keep)  # of a kept square that is cropped once more
    return new, (edge(new[0]) - inner, edge(new[1]) - inner)


def _filter(how: dict[str, Any]) -> str:
    return "bicubic" if how["interpolation"] == "random" else how["interpolation"]  # as open_clip does


def fit(image: Tensor, how: dict[str, Any], *, keep: int | None = None) -> Tensor:
    """Bring a batch of pixels to the size of the tower; the gradient goes through.

    Shapes   image (B, 3, H, W); result (B, 3, S, S) with S the size of the tower, or `keep`.
    Units    as given; interpolation may leave [0, 1] a little, as it does in torchvision.
    Returns  the image itself where the size fits already.
    Raises   ValueError for an image that the model's own preprocessing does not bring to this size.
    Source   open_clip's evaluation transform on tensors: antialiased resize, centre crop; for models of transformers
             CLIPImageProcessor, which rounds the corner of the crop down.
    """
    keep = keep or how["size"]
    new, corner = _placed(how, *image.shape[-2:], keep=keep)
    return resize_and_crop(image, keep, new=new, corner=corner, mode=_filter(how))


def picture(image: Any, how: dict[str, Any]) -> Tensor:
    """Turn one picture into pixels of the model's input size.

    Shapes   PIL picture, array (H, W) or (H, W, 3), or tensor (3, H, W); result (3, R, R), R of `input_size`.
    Units    result in [0, 1].
    Returns  float32 tensor.
    Raises   ValueError for what cannot be read as pixels.
    Source   open_clip's evaluation transform on PIL pictures, and CLIPImageProcessor of transformers: both resize in
             8 bits, the second after making the picture RGB.
    """
    keep = input_size(how)
    if isinstance(image, Tensor):
        return fit(check_pixels(image[None], "pixels"), how, keep=keep)[0].clamp(0, 1)
    if not isinstance(image, Image.Image) or image.mode.startswith(("I", "F")):
        pixels = to_pixels(image)
        if not isinstance(image, Image.Image) and np.issubdtype(np.asarray(image).dtype, np.floating):
            return fit(pixels[None], how, keep=keep)[0].clamp(0, 1)
        image = Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())
    if how["rgb_first"]:
        image = image.convert("RGB")
    new, (top, left) = _placed(how, image.height, image.width, keep=keep)
    number, (high, wide) = RESAMPLE.index(_filter(how)), (image.height, image.width)
    if max(new) > 16 * keep and new != (high, wide):  # a strip: resize only what is kept
        y, x = high / new[0], wide / new[1]
        box = (left * x, top * y, min((left + keep) * x, wide), min((top + keep) * y, high))
        image = image.resize((keep, keep), number, box=box)
    else:
        image = image.resize(new[::-1], number) if new != (high, wide) else image
        image = image.crop((left, top, left + keep, top + keep))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous().float().div(255)
