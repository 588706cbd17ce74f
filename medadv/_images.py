"""Pixels: what an image must look like at every door, and how files and arrays become one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from medadv._resample import resample

_NOISY = ContextVar("noisy pixels are meant", default=False)


@contextmanager
def noisy_pixels() -> Iterator[None]:
    """Let pixels leave [0, 1] for a while, because noise was added on purpose and must not be clamped.

    Shapes   none.
    Units    none.
    Returns  a context manager; within it check_pixels still asks for float (B, 3, H, W).
    Raises   nothing.
    Source   ours. A smoothing certificate holds for Gaussian noise; clamped noise is another one.
    """
    token = _NOISY.set(True)
    try:
        yield
    finally:
        _NOISY.reset(token)


def check_pixels(image: Tensor, where: str) -> Tensor:
    """Refuse anything but float pixels (B, 3, H, W) in [0, 1], with a sentence that names the remedy.

    Shapes   image (B, 3, H, W).
    Units    [0, 1].
    Returns  the same tensor.
    Raises   ValueError for another type, rank, channel count, number format or range. Half precision is refused: a step
             of 1/255 is not a number of it, so no budget could be kept.
    Source   ours; the normalised input is the most reported mistake of every attack library.
    """
    head = f"The 'image' parameter of {where} must be a float tensor (B, 3, H, W) in [0, 1]; got"
    if not isinstance(image, Tensor):
        raise ValueError(f"{head} {type(image).__name__}. Turn pictures and arrays into pixels with medadv.to_pixels.")
    if not image.is_floating_point():
        raise ValueError(f"{head} {image.dtype}. Divide uint8 values by 255, or use medadv.to_pixels.")
    if image.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{head} {image.dtype}. Use image.float(); for speed, load the model with dtype='bfloat16'.")
    if image.ndim != 4:
        raise ValueError(f"{head} shape {tuple(image.shape)}. Add the batch axis with image[None].")
    if image.shape[1] != 3 and image.shape[3] == 3:
        raise ValueError(f"{head} shape {tuple(image.shape)}. Put the channels second: image.permute(0, 3, 1, 2).")
    if image.shape[1] != 3:
        raise ValueError(f"{head} {image.shape[1]} channel(s). Repeat a grey image: image.expand(-1, 3, -1, -1).")
    if image.numel() and not _NOISY.get():
        low, high = torch.aminmax(image.detach())
        # NaN fails both comparisons, so it is refused here too.
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise ValueError(f"{head} values from {low:.3g} to {high:.3g}. Did you normalise? The VLM does it inside.")
    return image


def to_pixels(
    image, *, size: int | None = None, window: tuple[float, float] | None = None, bits: int | None = None
) -> Tensor:
    """Turn a PIL picture or an array into pixels, resized and centre-cropped as open_clip does it.

    Shapes   array (H, W), (H, W, 1) or (H, W, 3 or 4); result (3, H, W), or (3, size, size).
    Units    8-bit values in 0..255, float arrays in [0, 1]. Anything deeper (16-bit and float pictures, CT
             values) has no scale of its own: `window=(low, high)` names the values that become 0 and 1, `bits`
             is short for (0, 2**bits - 1); values outside are clipped. Result in [0, 1].
    Returns  float32 tensor; grey is repeated, alpha dropped. Deep pictures are rounded to steps of 1/255.
    Raises   ValueError for other shapes, number formats or ranges, and for a deep picture without a scale.
    Source   open_clip's image_transform for evaluation: bicubic on the shorter side, then centre crop.
    """
    scale = scale_of(window, bits, "to_pixels")
    if not isinstance(image, Image.Image):
        image = _from_array(np.asarray(image), scale)
        if isinstance(image, Tensor):
            return image if size is None else square(image, size)
    if deep(image):
        if scale is None:
            raise ValueError(
                f"The 'image' parameter of to_pixels must be an 8-bit picture or come with a scale; got mode "
                f"{image.mode}, whose values have none of their own. Pass window=(low, high), or bits=N."
            )
        image = Image.fromarray(to_bytes(np.asarray(image), scale))
    if size is not None:
        image = _cut(image, size)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous().float().div(255)


def deep(picture: Image.Image) -> bool:
    """Tell whether a picture holds values that have no scale of their own: 16-bit, 32-bit or float."""
    return picture.mode.startswith("I") or picture.mode == "F"


def scale_of(window: Any, bits: Any, where: str) -> tuple[float, float] | None:
    """Check a declared scale, and return the values that become 0 and 1, or None where nothing is declared."""
    if bits is not None:
        if window is not None:
            raise ValueError(f"The 'bits' parameter of {where} must be left out where 'window' is given; got both.")
        if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 32:
            raise ValueError(
                f"The 'bits' parameter of {where} must be a whole number from 1 to 32; got {str(bits)[:40]}. "
                "Give the bits in use, such as 12, not those of the file."
            )
        return 0.0, float(2 ** int(bits) - 1)
    if window is None:
        return None
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError, OverflowError):
        low = high = float("nan")
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            f"The 'window' parameter of {where} must be two numbers, low and high; got {str(window)[:40]}. "
            "Give the values that become black and white, such as (0, 4095)."
        )
    return low, high


def to_bytes(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Bring values to 0..255: the scale's low becomes 0, its high 255, what is outside is clipped."""
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            "The 'image' parameter of to_pixels must hold finite values; got some that are infinite or no numbers. "
            "Replace them first."
        )
    low, high = scale
    return (((values - low) / (high - low)).clip(0, 1) * 255).round().astype(np.uint8)


def _from_array(array: np.ndarray, scale: tuple[float, float] | None = None):
    head = "The 'image' parameter of to_pixels must be a picture or an array (H, W) or (H, W, 3); got"
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))) or not array.size:
        raise ValueError(f"{head} shape {array.shape}. Put the channels last: array.transpose(1, 2, 0).")
    array = array[..., 0] if array.shape[2:] == (1,) else array[..., :3] if array.ndim == 3 else array
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    floating = np.issubdtype(array.dtype, np.floating)
    if scale is not None and (floating or np.issubdtype(array.dtype, np.integer)):
        return Image.fromarray(to_bytes(array, scale))
    if not floating:
        raise ValueError(f"{head} {array.dtype}. Scale it to uint8 or to float in [0, 1] first, or pass bits=N.")
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{head} values from {array.min():.3g} to {array.max():.3g}. Divide by the largest possible value, or "
            "pass window=(low, high)."
        )
    array = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float()


_LONGEST = 16
"""Beyond this ratio of the sides only what is kept is resized: a strip of 9,000 x 1 would fill the memory."""


def centre(wide: int, high: int, size: int) -> tuple[int, int, int, int]:
    """Say how open_clip makes a square: the new width and height, then the left and top edge of what is kept."""
    # torchvision truncates the longer side; equality with open_clip hangs on it.
    new = (size, size * high // wide) if wide <= high else (size * wide // high, size)
    return *new, round((new[0] - size) / 2), round((new[1] - size) / 2)


def _cut(picture: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and keep the square in the centre."""
    new_wide, new_high, left, top = centre(*picture.size, size)
    if max(new_wide, new_high) > _LONGEST * size:
        x, y = picture.size[0] / new_wide, picture.size[1] / new_high
        box = (left * x, top * y, min((left + size) * x, picture.size[0]), min((top + size) * y, picture.size[1]))
        picture = picture if picture.mode in ("F", "L", "RGB") else picture.convert("RGB")
        return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if min(picture.size) != size:
        picture = picture.resize((new_wide, new_high), Image.Resampling.BICUBIC)
    return picture.crop((left, top, left + size, top + size))


def square(image: Tensor, size: int) -> Tensor:
    """Bring pixels (3, H, W) to (3, size, size) as `to_pixels` does it; a long strip never grows in memory."""
    return resize_and_crop(image[None], size)[0].clamp(0, 1)


def resize(image: Tensor, size: int, *, short: bool = False) -> Tensor:
    """Resize a batch by antialiased bicubic interpolation; the gradient goes through.

    Shapes   image (B, 3, H, W); result (B, 3, size, size), or with `short` the shorter side is `size`.
    Units    as given; bicubic may leave [0, 1] a little.
    Returns  the image itself where the size fits already.
    Raises   nothing.
    Source   torch.nn.functional.interpolate, equal to torchvision's Resize on tensors.
    """
    high, wide = image.shape[-2:]
    new = (size, size)
    if short:
        new = (int(size * high / wide), size) if wide <= high else (size, int(size * wide / high))
    if (high, wide) == new:
        return image
    return F.interpolate(image, new, mode="bicubic", antialias=True, align_corners=False)


def crop(image: Tensor, size: int) -> Tensor:
    """Cut the centre square out of a batch.

    Shapes   image (B, 3, H, W) with H, W at least size; result (B, 3, size, size).
    Units    as given.
    Returns  a view.
    Raises   nothing.
    Source   torchvision's CenterCrop.
    """
    top, left = round((image.shape[-2] - size) / 2), round((image.shape[-1] - size) / 2)
    return image[..., top : top + size, left : left + size]


def resize_and_crop(
    image: Tensor,
    size: int,
    *,
    new: tuple[int, int] | None = None,
    corner: tuple[int, int] | None = None,
    mode: str = "bicubic",
) -> Tensor:
    """Resize a batch and cut a square out of it; of a long strip only the part that is kept is resized.

    Shapes   image (B, C, H, W); new (height, width), the shorter side `size` where None; corner (top, left), that of
             the centre where None; result (B, C, size, size).
    Units    as given; bicubic and lanczos may leave [0, 1] a little.
    Returns  the image itself where the size fits already; the gradient goes through.
    Raises   nothing.
    Source   torchvision's Resize and CenterCrop on tensors; `mode` is a filter of PIL by its name.
    """
    high, wide = image.shape[-2:]
    new = new or centre(wide, high, size)[1::-1]
    top, left = corner or (round((new[0] - size) / 2), round((new[1] - size) / 2))
    own = mode not in ("bilinear", "bicubic")  # filters that torch does not have, or has in float32 only
    if new != (high, wide) and (own or max(new) > _LONGEST * size):
        return resample(image, new=new, corner=(top, left), size=size, mode=mode)
    if new != (high, wide):
        image = F.interpolate(image, new, mode=mode, antialias=True, align_corners=False)
    return image if new == (size, size) else image[..., top : top + size, left : left + size]
