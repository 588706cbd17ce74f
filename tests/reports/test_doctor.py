"""Every check fires on a head that was made ill for it, and none on a healthy one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toyworld import Linear, toy_images

from medadv.data import load
from medadv.models import ZeroShot
from medadv.models import load as open_model
from medadv.reports.doctor import CHECKS, doctor
from medadv.threat import Threat

THREAT = Threat.parse("linf:2/255")


class Astray(torch.autograd.Function):
    """The image itself, with a gradient that points the wrong way, where `off` says so."""

    @staticmethod
    def forward(context, image, off):
        context.save_for_backward(off)
        return image.clone()

    @staticmethod
    def backward(context, gradient):
        (off,) = context.saved_tensors
        return torch.where(off.view(-1, 1, 1, 1), -gradient, gradient), None


def astray(image: Tensor) -> Tensor:
    """Every gradient is wrong."""
    return Astray.apply(image, torch.ones(len(image), dtype=torch.bool))


def astray_between(image: Tensor) -> Tensor:
    """The gradient is right on whole steps of 1/255 only, where pictures lie and a random start does not."""
    scaled = image.detach() * 255
    return Astray.apply(image, ((scaled - scaled.round()).abs() > 0.01).flatten(1).any(1))


class Ill(nn.Module):
    """The linear head with something around it."""

    def __init__(self, before=lambda x: x, after=lambda x: x, classes: int = 3, scale: float = 20.0):
        super().__init__()
        self.linear, self.before, self.after = Linear(classes, scale), before, after

    def forward(self, image: Tensor) -> Tensor:
        return self.after(self.linear(self.before(image)))


class Stale(Ill):
    """A head that turns into another after a few calls."""

    calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(image) + (self.calls > 6) * 3.0 * torch.tensor([0.0, 1.0, -1.0])


def blurred(image: Tensor) -> Tensor:
    """Colours so coarse that a small step changes none."""
    return (image * 20).round() / 20


def normed(logits: Tensor) -> Tensor:
    """Batch normalisation that forgot to leave training mode, hidden from eval()."""
    return (logits - logits.mean(0)) / (logits.std(0, correction=0) + 0.01)


def banded(logits: Tensor) -> Tensor:
    """Class 0 is lost in a narrow band of its lead, which large steps jump over."""
    lead = (logits[:, 0] - logits[:, 1] + 0.2).abs() - 0.1
    return torch.stack([lead, -lead], 1)


ILL = {
    "non-finite logits": (lambda: Ill(after=lambda x: x / 0.0), {}),
    "probabilities": (lambda: Ill(after=lambda x: x.softmax(1)), {}),
    "randomised model": (lambda: Ill(after=lambda x: x + 0.1 * torch.randn_like(x)), {}),
    "not in eval mode": (lambda: nn.Sequential(nn.Dropout(0.3), Linear()).train(), {}),
    "eps 0 is not clean": (Stale, {}),
    "batch dependence": (lambda: Ill(after=normed), {}),
    "non-finite gradients": (lambda: Ill(after=lambda z: z + (z.detach() - z).abs().sqrt()), {}),
    "zero gradients": (lambda: Ill(before=blurred), {}),
    "saturated logits": (lambda: Ill(scale=2e5), {}),
    "one step beats many": (lambda: Ill(before=astray_between), {}),
    "black box beats white box": (lambda: Ill(before=astray), {"threat": Threat.parse("linf:8/255")}),
    "transfer beats white box": (lambda: Ill(before=astray), {"surrogate": Linear()}),
    "large eps does not suffice": (lambda: Ill(before=astray), {}),
    "larger eps helps less": (lambda: Ill(after=banded, classes=2), {"threat": Threat.parse("linf:8/255"), "only": 0}),
    "more steps do not help": (lambda: Ill(before=astray), {}),
    "no better than a constant": (lambda: Ill(after=lambda x: x + torch.tensor([9.0, 0.0, 0.0])), {}),
    "few classes": (lambda: Ill(classes=2), {}),
}


def examined(head, *, threat=THREAT, only: int | None = None, **options):
    classes = len(head.linear.classes) if isinstance(head, Ill) else 3
    image, label = toy_images(30 if only is None else 60, classes)
    image = (image * 255).round() / 255
    kept = torch.ones_like(label, dtype=torch.bool) if only is None else label == only
    return doctor(head, image[kept], label[kept], threat, **{"steps": 8, "queries": 100, **options})


@pytest.mark.parametrize("name", ILL)
def test_each_check_fires(name):
    make, options = ILL[name]
    flags = examined(make(), **options)
    assert [flag.name for flag in flags] == [known for known, *_ in CHECKS] == list(ILL)
    flag = next(flag for flag in flags if flag.name == name)
    assert flag.found, flag
    assert flag.remedy in repr(flag)


def test_healthy_heads_are_left_alone():
    assert not [flag for flag in examined(Linear(), surrogate=Linear(scale=10)) if flag.found]
    data = load("phantoms", n=12)
    head, batch = ZeroShot.from_prompts(open_model("tiny"), list(data.prompts)), data.batch(range(12))
    flags = doctor(head, batch.image, batch.label, Threat.parse("linf:1/255"), steps=4, queries=10)
    assert not [flag for flag in flags if flag.found]


def test_it_leaves_no_trace_and_says_its_cost():
    class Counts(Linear):
        seen = 0

        def forward(self, image):
            self.seen += len(image)
            return super().forward(image)

    head = nn.Sequential(nn.BatchNorm2d(3), Counts()).train()
    before, state = [buffer.clone() for buffer in head.buffers()], torch.get_rng_state()
    flags = examined(head)
    assert all(torch.equal(a, b) for a, b in zip(before, head.buffers(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert head.training
    assert all(weight.grad is None for weight in head.parameters())
    assert head[1].seen == sum(flag.cost.forwards for flag in flags)
    assert sum(flag.cost.backwards for flag in flags) < 30 * 8 * 8


def test_a_head_without_any_gradient_is_no_error():
    flags = {flag.name: flag for flag in examined(Ill(after=lambda x: x.detach()))}
    assert flags["zero gradients"].found
    assert flags["one step beats many"].evidence.startswith("Not run")


def test_weights_that_have_a_gradient_where_pixels_have_none():
    flags = {
        flag.name: flag for flag in examined(Ill(before=lambda x: x.detach()), surrogate=Ill(before=Tensor.detach))
    }
    assert flags["zero gradients"].found
    assert flags["zero gradients"].evidence.startswith("No gradient reaches the pixels")
    assert flags["transfer beats white box"].evidence.startswith("Not run with this surrogate")


def test_a_model_that_breaks_down_is_reported():
    flags = examined(lambda x: torch.where(x[:, 0, :1, 0] > 0.5, torch.nan, Linear()(x)))
    assert flags[0].found
    assert all("Not run" in flag.evidence for flag in flags[1:])
    moved = {flag.name: flag for flag in examined(OnWholeSteps())}  # only points between the steps break it
    assert not moved["non-finite logits"].found


class OnWholeSteps(Linear):
    """NaN wherever a pixel is no whole step of 1/255."""

    def forward(self, image: Tensor) -> Tensor:
        off = ((image * 255 - (image * 255).round()).abs() > 0.01).flatten(1).any(1, keepdim=True)
        return torch.where(off, torch.nan, super().forward(image))


def test_classes_that_are_masked_out_are_no_illness():
    masked = Ill(after=lambda z: torch.cat([z, torch.full_like(z[:, :1], -torch.inf)], 1))
    found = [flag.name for flag in examined(masked) if flag.found]
    assert not {"non-finite logits", "randomised model", "batch dependence", "eps 0 is not clean"} & set(found)


def test_a_model_in_training_mode_behind_a_function_is_found():
    inner = nn.Sequential(nn.BatchNorm2d(3), Linear()).train()
    before = [buffer.clone() for buffer in inner.buffers()]
    flags = {flag.name: flag for flag in examined(lambda x: inner(x))}
    assert flags["not in eval mode"].found
    assert inner[0].training
    assert all(torch.equal(a, b) for a, b in zip(before, inner.buffers(), strict=True))
    weight = Linear().weight.detach()
    flags = {flag.name: flag for flag in examined(lambda x: (x - 0.5).mean((2, 3)) @ weight[:, :3].T)}
    assert "cannot be known" in flags["not in eval mode"].evidence
    assert not flags["not in eval mode"].found


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_same_where_gradients_are_off(mode):
    image, label = toy_images(12)
    head = Ill(after=lambda x: x * 1e4)
    usual = doctor(head, image, label, "linf:2/255", steps=3, queries=5)
    with mode():
        found = doctor(head, image.clone(), label.clone(), "linf:2/255", steps=3, queries=5)
    assert [(flag.name, flag.found, flag.evidence) for flag in found] == [
        (flag.name, flag.found, flag.evidence) for flag in usual
    ]
    torch.set_default_dtype(torch.float64)
    try:
        again = doctor(head, image, label, "linf:2/255", steps=3, queries=5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert [flag.found for flag in again] == [flag.found for flag in usual]


@pytest.mark.parametrize("threat", ["l2:0.2", "l1:2"])
def test_other_norms(threat):
    flags = examined(Linear(), threat=Threat.parse(threat))
    assert not [flag for flag in flags if flag.found]


def test_what_is_no_image_and_no_label_is_refused():
    image, label = toy_images(4)
    with pytest.raises(ValueError, match="Did you normalise"):
        doctor(Linear(), image * 4 - 2, label, THREAT)
    with pytest.raises(ValueError, match="below the 3 classes"):
        doctor(Linear(), image, label + 1, THREAT)
