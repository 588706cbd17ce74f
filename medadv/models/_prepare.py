"""What a model wants its images to look like: read from the model, carried out on pixels and on pictures."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from medadv._images import check_pixels, crop, to_pixels


def preprocessing(model: Any, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read how the model wants its images; mean and std are never guessed.

    Shapes   none.
    Units    mean and std in pixel units.
    Returns  dict with mean, std, size (int), resize_mode, interpolation.
    Raises   ValueError if mean or std are nowhere said, or if the size or the mode is one we do not have.
    Source   open_clip's PreprocessCfg; `given` wins over what the model carries.
    """
    own = {
        "resize_mode": "shortest",
        "interpolation": "bicubic",
        **(getattr(model.visual, "preprocess_cfg", None) or {}),
    }
    own.update(given or {})
    missing = [key for key in ("mean", "std") if own.get(key) is None]
    if missing:
        raise ValueError(
            f"The 'model' parameter of VLM must carry its preprocessing; "
            f"got one without {' and '.join(missing)}. Pass preprocess={{'mean': (...), 'std': (...)}}."
        )
    for key in ("mean", "std"):
        own[key] = tuple(own[key]) if isinstance(own[key], (list, tuple)) else (own[key],) * 3
    size = own.get("size") or model.visual.image_size
    sizes = set(size) if isinstance(size, (list, tuple)) else {size}
    modes = (own["resize_mode"], own["interpolation"])
    if len(sizes) > 1 or modes[0] not in ("shortest", "squash") or modes[1] not in ("bicubic", "bilinear", "random"):
        raise ValueError(
            "The 'preprocess' parameter of VLM must ask for one square size, resize_mode shortest or squash, "
            f"and interpolation bicubic or bilinear; got size {sorted(sizes)}, {modes[0]}, {modes[1]}. "
            "Use another model."
        )
    return {**own, "size": int(sizes.pop())}


def fit(image: Tensor, how: dict[str, Any]) -> Tensor:
    """Bring a batch of pixels to the model's size; the gradient goes through.

    Shapes   image (B, 3, H, W); result (B, 3, S, S).
    Units    as given; interpolation may leave [0, 1] a little, as it does in torchvision.
    Returns  the image itself where the size fits already.
    Raises   nothing.
    Source   open_clip's evaluation transform on tensors: antialiased resize, centre crop.
    """
    size, (high, wide) = how["size"], image.shape[-2:]
    if (high, wide) == (size, size):
        return image
    new = (size, size)
    if how["resize_mode"] == "shortest":  # the longer side is cut down to int, as torchvision does
        new = (int(size * high / wide), size) if wide <= high else (size, int(size * wide / high))
    mode = "bilinear" if how["interpolation"] == "bilinear" else "bicubic"
    return crop(F.interpolate(image, new, mode=mode, antialias=True, align_corners=False), size)


def picture(image: Any, how: dict[str, Any]) -> Tensor:
    """Turn one picture into pixels of the model's size.

    Shapes   PIL picture, array (H, W) or (H, W, 3), or tensor (3, H, W); result (3, S, S).
    Units    result in [0, 1].
    Returns  float32 tensor.
    Raises   ValueError for what cannot be read as pixels.
    Source   open_clip's evaluation transform; 16-bit grey is scaled to 8 bits first, where PIL would clip.
    """
    if isinstance(image, Tensor):
        return fit(check_pixels(image[None], "pixels"), how)[0].clamp(0, 1)
    if how["resize_mode"] == "shortest" and how["interpolation"] != "bilinear":
        return to_pixels(image, size=how["size"])
    if not isinstance(image, Image.Image) or image.mode.startswith(("I", "F")):
        return fit(to_pixels(image)[None], how)[0].clamp(0, 1)
    from open_clip.transform import image_transform

    modes = {key: how[key] for key in ("resize_mode", "interpolation")}
    return image_transform(how["size"], is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, **modes)(image)
