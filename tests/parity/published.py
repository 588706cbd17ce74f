"""The attacks as their papers print them, about twenty lines each, one image set, no speed; and a small world."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gradient(model: nn.Module, x: Tensor, label: Tensor, loss=None) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each image, its gradient, and who is fooled."""
    x = x.detach().requires_grad_()
    logits = model(x)
    each = F.cross_entropy(logits, label, reduction="none") if loss is None else loss(logits, label)
    return each.detach(), torch.autograd.grad(each.sum(), x)[0], logits.argmax(1) != label


def dlr(logits: Tensor, label: Tensor) -> Tensor:
    """Croce and Hein 2020, equation 6."""
    ordered = logits.sort(1, descending=True)
    first = torch.where(ordered.indices[:, 0] == label, ordered.values[:, 1], ordered.values[:, 0])
    spread = ordered.values[:, 0] - ordered.values[:, 2] + 1e-12
    return -(logits.gather(1, label[:, None])[:, 0] - first) / spread


def clip(x: Tensor, image: Tensor, eps: float, norm: str = "linf") -> Tensor:
    """Back into ball and box, as AutoAttack does it."""
    if norm == "linf":
        return (x.clamp(image - eps, image + eps)).clamp(0, 1)
    size = (x - image).flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (image + (x - image) / (size + 1e-12) * size.clamp_max(eps)).clamp(0, 1)


def pgd(model, image, label, *, eps, step, steps, start, decay=None) -> tuple[Tensor, Tensor]:
    """Madry et al. 2018, eq. 2.1; with `decay` Dong et al. 2018, algorithm 1: points and fooled, step by step."""
    x, past, points, fooled = start, torch.zeros_like(image), [], []
    for _ in range(steps):
        _, g, won = gradient(model, x, label)
        points, fooled = [*points, x], [*fooled, won]
        if decay is not None:
            g = past = decay * past + g / g.abs().mean((1, 2, 3), keepdim=True)
        x = clip(x + step * g.sign(), image, eps)
    return torch.stack([*points, x]), torch.stack([*fooled, gradient(model, x, label)[2]])


def apgd(model, image, label, *, eps, steps, start, loss=None, norm="linf", rho=0.75) -> tuple[Tensor, Tensor, Tensor]:
    """Croce and Hein 2020, algorithm 1: best loss, its point, and who was fooled on the way, one image at a time."""
    found = []
    for i in range(len(image)):
        x0, y, x = image[i : i + 1], label[i : i + 1], start[i : i + 1]
        f, g, won = gradient(model, x, y, loss)
        old, best, best_g, best_x, losses, step = x, f, g, x, [], 2 * eps
        wait, since, halved, checked = max(int(0.22 * steps), 1), 0, True, f
        for k in range(steps):
            unit = g.sign() if norm == "linf" else g / (g.norm() + 1e-12)
            z = clip(x + step * unit, x0, eps, norm)
            a = 0.75 if k else 1.0
            x, old = clip(x + a * (z - x) + (1 - a) * (x - old), x0, eps, norm), x
            f, g, now = gradient(model, x, y, loss)
            won, losses, since = won | now, [*losses, f], since + 1
            if f > best:
                best, best_g, best_x = f, g, x
            if since == wait:
                # The history before the first step reads as zero, as in the published code.
                before = losses[k - wait] if k >= wait else torch.zeros_like(f)
                pairs = zip([before, *losses[k - wait + 1 : k]], losses[k - wait + 1 :], strict=True)
                rises = sum(bool(b > a) for a, b in pairs)
                halved, checked = rises <= rho * wait or (not halved and bool(checked >= best)), best
                if halved:
                    step, x, g = step / 2, best_x, best_g
                wait, since = max(wait - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)), 0
        found.append((best, best_x, won))
    return tuple(torch.cat(part) for part in zip(*found, strict=True))


def square(model, image, label, *, eps, queries, p=0.8, seed=0) -> tuple[Tensor, Tensor]:
    """Andriushchenko et al. 2020, algorithms 1 and 2: who is fooled, and the queries of each image."""
    halvings, draw = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000), torch.Generator().manual_seed(seed)
    fooled, spent = torch.zeros(len(image), dtype=torch.bool), torch.zeros(len(image), dtype=torch.int64)
    for i in range(len(image)):
        x0, size = image[i], image.shape[2]
        x = (x0 + eps * torch.randn(3, 1, size, generator=draw).sign()).clamp(0, 1)
        best = _margin(model, x, label[i])
        for query in range(queries):
            spent[i] = query + 1
            fooled[i] = best < 0
            if fooled[i]:
                break
            share = p / 2 ** sum(int(query / queries * 10_000) > limit for limit in halvings)
            side = min(max(round((share * size * size) ** 0.5), 1), size)
            top, left = (int(torch.randint(size - side + 1, (), generator=draw)) for _ in range(2))
            new = x.clone()
            new[:, top : top + side, left : left + side] += 2 * eps * torch.randn(3, 1, 1, generator=draw).sign()
            new = clip(new, x0, eps)
            if (now := _margin(model, new, label[i])) < best:
                best, x = now, new
    return fooled, spent


def _margin(model, x: Tensor, label: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model(x[None])[0]
    return logits[label] - logits.index_fill(0, label, -torch.inf).max()


class Net(nn.Module):
    """Small, bent and deterministic: gradients differ from step to step."""

    def __init__(self, classes: int = 6, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Conv2d(3, 12, 3, stride=2), nn.SiLU(), nn.Conv2d(12, 24, 3, stride=2), nn.Tanh(),
                nn.Flatten(), nn.Linear(24 * 9, classes),
            )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return 20 * self.body(image - 0.5)


def world(many: int = 24, seed: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    """A classifier, images, and the labels it gives them."""
    model, image = Net().eval(), torch.rand(many, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model, image, model(image).argmax(1)
