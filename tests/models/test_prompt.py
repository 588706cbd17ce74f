from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medadv.models import ZeroShot, load
from medadv.models.prompt import Prompt, marked

NAMES = ["normal lung", "a nodule", "heart"]
KINDS = ["vit", "custom", "resnet", "hf", "biomed", "coca", "tiny"]


@pytest.fixture
def vlm(request, vlms):
    return load("tiny", device="cpu") if request.param == "tiny" else vlms[request.param]


@pytest.mark.parametrize("vlm", KINDS, indirect=True)
def test_it_starts_as_the_sentence(vlm):
    prompt = Prompt(vlm, NAMES, context="image of the")
    want = vlm.encode_text([f"image of the {name}." for name in NAMES])
    assert torch.allclose(prompt.weight(), want, atol=1e-5)
    head = prompt.head()
    assert isinstance(head, ZeroShot)
    assert head.guarantee == "fixed"
    size = vlm.image_size
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(prompt(pixels), head(pixels), atol=1e-4)


@pytest.mark.parametrize("vlm", KINDS, indirect=True)
def test_the_gradient_reaches_the_context_alone(vlm):
    prompt = Prompt(vlm, NAMES, context=None, length=3, generator=torch.Generator().manual_seed(0))
    assert prompt.context.shape[0] == 3
    target = F.normalize(torch.randn(3, prompt.weight().shape[1], generator=torch.Generator().manual_seed(1)), dim=1)
    (grad,) = torch.autograd.grad((prompt.weight() * target).sum(), prompt.context)
    assert (grad.abs().amax(1) > 0).all()  # every token of the context counts
    assert all(weight.grad is None for weight in vlm.parameters())
    # By finite differences, in one coordinate.
    with torch.no_grad():
        before, step = prompt.context.clone(), 1e-2
        sides = []
        for sign in (1, -1):
            prompt.context.copy_(before)
            prompt.context[1, 2] += sign * step
            sides.append(float((prompt.weight() * target).sum()))
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(grad[1, 2]), abs=2e-3, rel=0.05)


def test_names_of_several_lengths_and_the_shared_context(vit):
    prompt = Prompt(vit, ["a", "a very long name of a thing"], context="an image of")
    with torch.no_grad():
        prompt.context.add_(0.1)
        moved = prompt.weight()
        alone = [Prompt(vit, [name], context="an image of") for name in prompt.classes]
        for one in alone:
            one.context.copy_(prompt.context)
        assert torch.allclose(moved, torch.cat([one.weight() for one in alone]), atol=1e-6)


def test_the_model_is_left_as_it_was(vit):
    before = vit.encode_text(NAMES)
    prompt = Prompt(vit.train(), NAMES)
    prompt.weight().sum().backward()
    assert vit.training
    vit.eval()
    assert torch.equal(vit.encode_text(NAMES), before)
    assert not vit.token_embedding()._forward_hooks
    assert prompt.context.grad is not None
    for weight in vit.parameters():
        weight.grad = None


def test_one_word_may_be_several_tokens(vit):
    prompt = Prompt(vit, ["lung"], context="histopathology")
    assert len(prompt.context) == len(vit.tokenize(["histopathology"])[0].nonzero()) - 2 > 1


def test_half_precision_tower(folders):
    vlm = load(f"local-dir:{folders['vit']}", device="cpu", dtype="bfloat16")
    prompt = Prompt(vlm, NAMES)
    weight = prompt.weight()
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, vlm.encode_text([f"a medical image showing {n}." for n in NAMES]), atol=0.02)


def test_wrong_prompts(vit):
    with pytest.raises(ValueError, match="an empty list"):
        Prompt(vit, [])
    with pytest.raises(ValueError, match="must hold a word"):
        Prompt(vit, NAMES, context="")
    with pytest.raises(ValueError, match="must be 1 or more"):
        Prompt(vit, NAMES, context=None, length=0)
    with pytest.raises(ValueError, match="must hold names that fit 16 tokens"):
        Prompt(vit, ["a b c d e f g h i j k"])


def test_marks():
    class Head:
        pass

    head = marked(Head(), guarantee="routed", streams=[1])
    assert (head.guarantee, head.streams) == ("routed", (1,))
    assert "3 classes" in repr(Prompt(load("tiny", device="cpu"), NAMES))
