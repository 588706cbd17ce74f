from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from medadv.certify.noise_stream import Noise, Stream
from medadv.certify.promptsmooth import Bank, calibrate, few_shot, marginal_entropy, noisy_bank, shots_of
from medadv.certify.smooth import certify
from medadv.certify.test_time import TestTime
from medadv.data import load as load_data
from medadv.models import ZeroShot, load
from medadv.models.prompt import Prompt

QUICK = {"sigma": 0.1, "n0": 20, "n": 60, "progress": False}


@pytest.fixture(scope="module")
def vlm():
    return load("tiny", device="cpu")


@pytest.fixture(scope="module")
def data():
    return load_data("phantoms", split="train", n=60)


@pytest.fixture(scope="module")
def prompt(vlm, data):
    return Prompt(vlm, data.prompts)


@pytest.fixture(scope="module")
def bank(vlm, data):
    return noisy_bank(vlm, data, sigmas=(0.05, 0.1, 0.15, 0.2), copies=4, progress=False)


def test_marginal_entropy():
    logits = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    assert float(marginal_entropy(logits)) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert marginal_entropy(torch.zeros(7, 3, 4)).tolist() == pytest.approx([math.log(4)] * 7)
    hot = torch.tensor([[1e4, 0.0], [1e4, 0.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(marginal_entropy(hot), hot)
    assert grad.isfinite().all()  # a sure answer has probability 0 for the other


def test_shots():
    labels = torch.tensor([0, 1, 0, -1, 1, 0, 2])
    chosen = shots_of(labels, 2)
    assert torch.bincount(labels[chosen]).tolist() == [2, 2, 1]
    assert chosen == sorted(chosen) == shots_of(labels, 2)
    assert 3 not in chosen
    with pytest.raises(ValueError, match="must hold known labels"):
        shots_of(torch.tensor([-1]), 1)


def test_bank_by_hand(vlm, data, bank):
    assert bank.feature.shape == (60, 4, 128)
    assert bank.sigma.tolist() == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert bank.streams == (Stream(0, "train"),)
    assert torch.equal(bank.label, data.labels)
    image = data.load(7)[0]
    noise = Noise(0, 7, 1.0, "train", (3, 64, 64)).draws(2, 3)[0]
    noisy = (image + 0.15 * noise - 0.5) / 0.25  # the tiny model's own normalisation
    with torch.no_grad():
        want = F.normalize(vlm.model.encode_image(noisy[None]), dim=-1)
    assert torch.allclose(bank.feature[7, 2], want[0], atol=1e-5)
    again = noisy_bank(vlm, data.select(range(9)), sigmas=(0.05, 0.1, 0.15, 0.2), batch_size=5, progress=False)
    assert torch.allclose(again.feature, bank.feature[:9], atol=1e-5)
    with pytest.raises(ValueError, match="'sigma' parameter"):
        noisy_bank(vlm, data, sigmas=(0.1, 0.0), progress=False)


def per_level(prompt, bank):
    """The loss at each noise level."""
    with torch.no_grad():
        logits = prompt.from_features(bank.feature)
    loss = F.cross_entropy(logits.flatten(0, 1), bank.label.repeat_interleave(4), reduction="none")
    return loss.view(len(bank), 4).mean(0)


def test_few_shot_learns_one_prompt_for_all_levels(prompt, bank):
    start = prompt.context.detach().clone()
    learned = few_shot(prompt, bank, epochs=15)
    assert (per_level(learned, bank)[1:] < 0.8 * per_level(prompt, bank)[1:]).all()
    assert torch.equal(prompt.context, start)
    assert prompt.streams == ()
    assert learned.streams == learned.head().streams == bank.streams
    assert torch.equal(few_shot(prompt, bank, epochs=2).context, few_shot(prompt, bank, epochs=2).context)
    with pytest.raises(ValueError, match="'epochs' parameter of few_shot"):
        few_shot(prompt, bank, epochs=0)
    with pytest.raises(ValueError, match="must hold labels"):
        few_shot(prompt, Bank(bank.feature, bank.label * 0 - 1, bank.sigma, ()))


def test_calibration_needs_no_labels_and_is_one_head_for_all(prompt, bank):
    def loss(one):
        with torch.no_grad():
            logits = one.from_features(bank.feature)
        return float(marginal_entropy(logits).mean() - marginal_entropy(logits.flatten(0, 1)))

    blind = Bank(bank.feature, bank.label * 0 - 1, bank.sigma, bank.streams)
    tuned = calibrate(prompt, blind, steps=3)
    assert loss(tuned) < loss(prompt)
    assert tuned.head().guarantee == "fixed"


def reference(prompt, image, *, seed, sigma, views):
    """The zero-shot variant as it stands in the paper's program, line by line."""
    vlm, context = prompt.vlm, prompt.context.detach().clone().requires_grad_(True)
    optimiser = torch.optim.AdamW([context], 5e-3)
    noise = Noise(seed, 0, sigma, "adapt", tuple(image.shape)).draws(0, views)
    with torch.no_grad():
        unit = F.normalize(vlm.model.encode_image((image + noise - 0.5) / 0.25), dim=-1)

    def weight():
        def swap(_m, _i, out):
            return torch.cat([out[:, :1], context.expand(len(out), -1, -1), out[:, 1 + len(context) :]], 1)

        hook = vlm.token_embedding().register_forward_hook(swap)
        made = vlm.encode_text(prompt.tokens)
        hook.remove()
        return made

    p = (vlm.scale.detach() * unit @ weight().T).softmax(1).mean(0)
    loss = -(p * p.log()).sum()
    optimiser.zero_grad()
    loss.backward(inputs=[context])
    optimiser.step()
    return context.detach(), weight().detach()


def test_test_time_prompt_as_published(vlm, data, prompt):
    image = data.load(3)[0]
    context, weight = reference(prompt, image, seed=0, sigma=0.1, views=20)
    views = Noise(0, 0, 0.1, "adapt", (3, 64, 64)).draws(0, 20)
    with torch.no_grad():
        feature = F.normalize(vlm.model.encode_image((image + views - 0.5) / 0.25), dim=-1)
    head = TestTime(prompt, views=20).at(feature)
    assert torch.allclose(head.weight, weight, atol=1e-4)
    moved = (context - prompt.context.detach() * (1 - 5e-3 * 0.01)).abs()
    assert moved.max() <= 5e-3 * 1.001  # the first step of AdamW is a sign step
    assert moved.median() > 4.9e-3
    fixed = ZeroShot(vlm, weight, classes=data.prompts)
    (ours,) = certify(TestTime(prompt, views=20), image[None], **QUICK)
    (theirs,) = certify(fixed, image[None], **QUICK)
    assert (ours.predicted, ours.count, ours.radius) == (theirs.predicted, theirs.count, theirs.radius)
    assert (ours.guarantee, theirs.guarantee) == ("prompt-frozen-at-x", "fixed")


def test_test_time_is_reset_for_every_image(data, prompt):
    images = torch.stack([data.load(i)[0] for i in range(2)])
    head = TestTime(prompt, views=10, lr=0.05)
    both = certify(head, images, **QUICK)
    assert certify(head, images[1:], ids=[1], **QUICK)[0].count == both[1].count
    combined = TestTime(few_shot(prompt, noisy_bank(prompt.vlm, data.select(range(4)), progress=False), epochs=1))
    assert combined.streams == (Stream(0, "train"),)


def test_a_prompt_fitted_on_the_votes_is_refused(vlm, data, prompt):
    bad = noisy_bank(vlm, data.select(range(4)), sigmas=(0.1,), copies=2, role="estimate", seed=5, progress=False)
    heads = {"few": few_shot(prompt, bad, epochs=1).head(), "time": TestTime(calibrate(prompt, bad, steps=1))}
    for name, head in heads.items():
        with pytest.raises(ValueError, match=f"head {name} was fitted"):
            certify({name: head}, data.select([0]), seed=5, **QUICK)
