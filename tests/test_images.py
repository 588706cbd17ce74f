"""Pictures become pixels exactly as open_clip makes them, or a sentence says why not."""

from __future__ import annotations

import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from medadv._images import check_pixels, crop, resize, to_pixels

SIZES = [(64, 64), (97, 61), (61, 97), (65, 64), (31, 45), (200, 33)]


def picture(wide: int, high: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(wide * 1000 + high).integers(0, 256, (high, wide, 4), dtype=np.uint8)
    smooth = np.cumsum(values.astype(np.int64), 1) // 64 % 256
    return Image.fromarray(smooth.astype(np.uint8), "RGBA").convert(mode)


@pytest.fixture(scope="module")
def theirs():
    """open_clip's evaluation transform without its normalisation."""
    whole = open_clip.image_transform(32, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3)
    return lambda image: whole(image)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
@pytest.mark.parametrize("shape", SIZES)
def test_pictures_come_out_as_in_open_clip(theirs, shape, mode):
    image = picture(*shape, mode)
    assert torch.equal(to_pixels(image, size=32), theirs(image))


def test_without_a_size_nothing_is_resized():
    image = picture(45, 31)
    assert torch.equal(to_pixels(image), torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    assert torch.equal(to_pixels(np.array(image)), to_pixels(image))
    assert torch.equal(to_pixels(np.array(image).astype(np.float64) / 255), to_pixels(image))


def test_sixteen_bits_keep_their_declared_range():
    # Pillow alone cuts such a file at 255, which turns a radiograph white.
    values = (np.linspace(0, 65535, 40 * 30).reshape(30, 40)).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "png")
    image = Image.open(io.BytesIO(file.getvalue()))
    assert image.mode.startswith("I")
    pixels = to_pixels(image, bits=16)
    assert pixels.shape == (3, 30, 40)
    np.testing.assert_allclose(pixels[0].numpy(), values / 65535, atol=1 / 255)
    assert torch.equal(pixels[0], pixels[2])


@pytest.mark.parametrize("shape", SIZES)
def test_arrays_of_floats_are_resized_like_torchvision_resizes_tensors(shape):
    array = np.asarray(picture(*shape), dtype=np.float32) / 255
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    want = v2.Compose([v2.Resize(32, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(32)])(tensor)
    torch.testing.assert_close(to_pixels(array, size=32), want.clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SIZES)
def test_resize_and_crop_are_torchvisions(shape):
    image = torch.rand(2, 3, shape[1], shape[0], generator=torch.Generator().manual_seed(0))
    square = v2.Resize((32, 32), v2.InterpolationMode.BICUBIC, antialias=True)(image)
    torch.testing.assert_close(resize(image, 32), square, atol=1e-6, rtol=0)
    short = v2.Resize(32, v2.InterpolationMode.BICUBIC, antialias=True)(image)
    torch.testing.assert_close(resize(image, 32, short=True), short, atol=1e-6, rtol=0)
    assert torch.equal(crop(image, 31), v2.CenterCrop(31)(image))


def test_resize_leaves_what_fits_and_lets_the_gradient_through():
    image = torch.rand(1, 3, 32, 32)
    assert resize(image, 32) is image
    large = torch.rand(1, 3, 64, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(resize(large, 32).sum(), large)
    assert (gradient != 0).all()


def test_four_channels_lose_the_alpha_and_one_is_repeated():
    colours = np.random.default_rng(0).random((8, 9, 4))
    assert torch.equal(to_pixels(colours), to_pixels(colours[..., :3]))
    bytes_ = (colours * 255).astype(np.uint8)
    assert torch.equal(to_pixels(bytes_), to_pixels(bytes_[..., :3]))
    grey = to_pixels(colours[..., 0])
    assert grey.shape == (3, 8, 9)
    assert torch.equal(grey[0], grey[2])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((3, 64, 64), np.uint8), r"Put the channels last: array.transpose\(1, 2, 0\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((8, 8), np.int64), "int64. Scale it to uint8"),
        (np.zeros((8, 8), np.uint16), "uint16"),
        (np.full((8, 8), 3.5), "values from 3.5 to 3.5. Divide by the largest"),
        (np.full((8, 8), -0.1), "values from -0.1"),
        (np.full((8, 8), np.nan), "values from nan"),
        ("scan.png", "shape"),
    ],
)
def test_arrays_that_are_no_picture(array, sentence):
    with pytest.raises(ValueError, match=f"'image' parameter of to_pixels.*{sentence}"):
        to_pixels(array)


def test_check_pixels_allows_rounding_and_nothing_more():
    image = torch.full((1, 3, 2, 2), 1 + 5e-7)
    assert check_pixels(image, "f") is image
    assert check_pixels(image.double(), "f").dtype == torch.float64
    for wrong in (torch.full((1, 3, 2, 2), 1.01), torch.full((1, 3, 2, 2), -0.01)):
        with pytest.raises(ValueError, match="'image' parameter of f must be .* values from"):
            check_pixels(wrong, "f")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_pixels_are_refused_with_the_remedy(dtype):
    with pytest.raises(ValueError, match=f"got {dtype}. Use image.float"):
        check_pixels(torch.zeros(1, 3, 2, 2, dtype=dtype), "f")


def test_channels_that_come_last_are_told_from_wrong_channels():
    with pytest.raises(ValueError, match=r"Put the channels second: image.permute\(0, 3, 1, 2\)"):
        check_pixels(torch.zeros(2, 8, 9, 3), "f")
    with pytest.raises(ValueError, match="1 channel.s.. Repeat a grey image"):
        check_pixels(torch.zeros(2, 1, 8, 8), "f")
