"""Resizing only what is kept: the same pixels, and memory that does not grow with the length of a strip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from medadv import _images, _resample
from medadv._images import crop, resize, resize_and_crop

PIL_NUMBERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def drawn(high, wide, channels=3):
    return torch.rand(2, channels, high, wide, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(57, 83), (83, 57), (9, 300), (300, 9), (20, 20), (16, 40), (200, 31)])
@pytest.mark.parametrize("strip", [0, 16])
def test_resize_and_crop_equals_resizing_then_cropping(shape, strip, monkeypatch):
    monkeypatch.setattr(_images, "_LONGEST", strip)  # at 0 every image is treated as a strip
    image = drawn(*shape)
    want = crop(resize(image, 16, short=True), 16)
    torch.testing.assert_close(resize_and_crop(image, 16), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", PIL_NUMBERS)
def test_every_filter_equals_that_of_pil(mode):
    image = drawn(45, 66)
    for new in ((35, 51), (90, 70), (20, 66)):
        want = [np.asarray(Image.fromarray(one.numpy(), "F").resize(new[::-1], PIL_NUMBERS[mode])) for one in image[0]]
        got = _resample.resample(image, new=new, corner=(3, 5), size=12, mode=mode)[0]
        want = torch.from_numpy(np.stack(want))[:, 3:15, 5:17]
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1), (2, 4001)])
def test_of_a_long_strip_only_what_is_kept_is_made(shape, monkeypatch):
    sizes = []
    monkeypatch.setattr(_images.F, "interpolate", lambda *_, **__: pytest.fail("the whole strip was resized"))
    whole = _resample.weights
    monkeypatch.setattr(_resample, "weights", lambda *a, **k: sizes.append(whole(*a, **k)[1].numel()) or whole(*a, **k))
    image = drawn(*shape).requires_grad_()
    square = resize_and_crop(image, 224)
    assert square.shape == (2, 3, 224, 224)
    assert max(sizes) <= 224 * 300
    (gradient,) = torch.autograd.grad(square.sum(), image)
    assert (gradient != 0).sum() < 100 * 6  # a few pixels in the middle, and no others


def test_an_image_of_the_right_size_is_returned_itself():
    image = drawn(16, 16)
    assert resize_and_crop(image, 16) is image
