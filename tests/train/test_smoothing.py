from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from medadv._images import noisy_pixels
from medadv.data.phantoms import phantoms
from medadv.models import ZeroShot
from medadv.models.tiny import load_tiny
from medadv.train.loop import fit
from medadv.train.smoothing import Denoised, Denoiser, denoise_step, noisy_step
from medadv.types import Batch

OPTIONS = {"steps": 12, "batch_size": 16, "progress": False, "warmup": 1}


@pytest.fixture(scope="module")
def head():
    vlm = load_tiny()
    return ZeroShot.from_prompts(vlm, phantoms(1).prompts)


@pytest.fixture(scope="module")
def data():
    made = phantoms(16, size=64)
    images = [made.load(i) for i in range(16)]  # drawn once
    return lambda k: made_batch(made, images)


def made_batch(made, images):
    return Batch(image=torch.stack([image for image, _ in images]), index=torch.arange(16), label=made.labels)


def noisy_loss(head, batch, sigma):
    noise = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad(), noisy_pixels():
        return F.cross_entropy(head(batch.image + sigma * noise), batch.label).item()


def test_tuning_the_image_tower_on_noise(head, data):
    tuned = copy.deepcopy(head)
    text = {k: v.clone() for k, v in tuned.vlm.model.transformer.state_dict().items()}
    means = [m.running_mean.clone() for m in tuned.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = noisy_loss(tuned, data(0), 0.2)
    fit(tuned, data, noisy_step((0.1, 0.2)), lr=1e-3, norm=False, params=tuned.vlm.model.visual.parameters(), **OPTIONS)
    assert noisy_loss(tuned, data(0), 0.2) < 0.8 * before
    assert all(torch.equal(text[k], v) for k, v in tuned.vlm.model.transformer.state_dict().items())
    after = [m.running_mean for m in tuned.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(torch.equal(a, b) for a, b in zip(means, after, strict=True))


@pytest.mark.parametrize("stability", [0.0, 0.003])
def test_a_denoiser_learns(stability, head, data):
    denoiser = Denoiser(width=8)
    image = data(0).image[..., 16:48, 16:48]
    assert torch.equal(denoiser(image), image)  # it starts as the identity
    step = denoise_step(0.25, head=head, stability=stability)
    history = fit(denoiser, lambda k: replace(data(k), image=image), step, lr=3e-2, **OPTIONS | {"steps": 30})
    noisy = image + 0.25 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert F.mse_loss(denoiser(noisy), image) < 0.7 * F.mse_loss(noisy, image)
        assert torch.allclose(denoiser(noisy)[:1], denoiser(noisy[:1]), atol=1e-5)
        assert Denoised(denoiser, head)(noisy).shape == (16, 20)
    assert ("stability" in history.values) == (stability > 0)


def test_bad_input(head):
    for wrong in (0.0, (), (0.1, -1.0)):
        with pytest.raises(ValueError, match="'sigma' parameter of noisy_step"):
            noisy_step(wrong)
    with pytest.raises(ValueError, match="'head' parameter"):
        denoise_step(0.25, stability=1.0)
