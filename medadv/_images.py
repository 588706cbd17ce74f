"""Pixels: what an image must look like at every door, and how files and arrays become one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

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


def to_pixels(image, *, size: int | None = None) -> Tensor:
    """Turn a PIL picture or an array into pixels, resized and centre-cropped as open_clip does it.

    Shapes   array (H, W) or (H, W, 3 or 4), uint8 or float; result (3, H, W), or (3, size, size).
    Units    uint8 in 0..255, float in [0, 1]; result in [0, 1].
    Returns  float32 tensor; grey is repeated, alpha dropped.
    Raises   ValueError for other shapes, number formats or ranges.
    Source   open_clip's image_transform for evaluation: bicubic on the shorter side, then centre crop.
    """
    if not isinstance(image, Image.Image):
        image = _from_array(np.asarray(image))
        if isinstance(image, Tensor):
            return image if size is None else crop(resize(image[None], size, short=True), size)[0].clamp(0, 1)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if values.max() > 255:  # 16-bit PNG, as radiographs often are
            values = values / 65535 * 255
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if size is not None:
        wide, high = image.size
        scale = size / min(wide, high)
        # torchvision truncates the longer side; equality with open_clip hangs on it.
        new = (size, int(size * high / wide)) if wide <= high else (int(size * wide / high), size)
        image = image.resize(new, Image.Resampling.BICUBIC) if scale != 1 else image
        left, top = round((image.size[0] - size) / 2), round((image.size[1] - size) / 2)
        image = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous().float().div(255)


def _from_array(array: np.ndarray):
    ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    head = "The 'image' parameter of to_pixels must be a picture or an array (H, W) or (H, W, 3); got"
    if not ok:
        raise ValueError(f"{head} shape {array.shape}. Put the channels last: array.transpose(1, 2, 0).")
    if array.dtype == np.uint8:
        return Image.fromarray(array[..., :3] if array.ndim == 3 else array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{head} {array.dtype}. Scale it to uint8 or to float in [0, 1] first.")
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{head} values from {array.min():.3g} to {array.max():.3g}. Divide by the largest possible value."
        )
    array = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array[..., :3]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float()


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
