"""PromptSmooth: prompts that know noise. Learned from few noisy images, or from the noisy copies of the image at hand.
The image tower is frozen, so prompts train on noisy embeddings that are computed once.

What a certificate then rests on differs, and every head says it (`guarantee`, see medadv.certify.votes):

    few_shot(...).head(), calibrate(...).head()   one prompt for all images: fixed
    TestTime (in test_time.py)                    as published, a prompt for each image: prompt-frozen-at-x
    Inside, Composed, Routed (in test_time.py)    tuned for each image, and sound: random-base, composed, routed
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from medadv._images import noisy_pixels
from medadv._labels import as_labels
from medadv._quiet import quiet
from medadv._random import generator
from medadv.certify._validate import check_draws, check_sigma
from medadv.certify.noise_stream import Noise, Stream
from medadv.models.prompt import Prompt

SIGMAS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Bank:
    """Embeddings of noisy images, computed once: every prompt, epoch and ablation trains on them."""

    feature: Tensor
    """(N, T, D) unit length, on the CPU."""
    label: Tensor
    """(N,) int64, -1 unknown."""
    sigma: Tensor
    """(T,) noise level of each copy."""
    streams: tuple[Stream, ...]

    def __len__(self) -> int:
        return len(self.feature)


def shots_of(labels: Any, shots: int, *, seed: int = 0) -> list[int]:
    """Draw a few images of every class.

    Shapes   labels (N,) integers, -1 unknown; at most shots * K numbers.
    Units    none.
    Returns  row numbers in increasing order; all of a class that has fewer.
    Raises   ValueError for shots below 1, or no labels.
    Source   CoOp, Zhou et al. 2022: 16 shots.
    """
    check_draws(shots, "shots_of", "shots")
    labels = as_labels(labels, None, "shots_of", name="labels")
    if not (labels >= 0).any():
        raise ValueError("The 'labels' parameter of shots_of must hold known labels; got none. Check the label column.")
    draw, chosen = generator(seed), list[int]()
    for k in labels[labels >= 0].unique().tolist():
        rows = (labels == k).nonzero().flatten()
        chosen += rows[torch.randperm(len(rows), generator=draw)[:shots]].tolist()
    return sorted(chosen)


def noisy_bank(
    vlm: Any,
    images: Any,
    *,
    sigmas: Sequence[float] = SIGMAS,
    copies: int = 4,
    labels: Any = None,
    seed: int = 0,
    role: str = "train",
    batch_size: int = 128,
    progress: bool = True,
) -> Bank:
    """Embed noisy copies of many images, once.

    Shapes   images (N, 3, H, W), or a data set with `load` and `labels`; copies T for each image.
    Units    images in [0, 1]; sigmas in pixel units, taken in turn by the copies.
    Returns  Bank. What is fitted on it remembers the noise (seed, role), and `certify` refuses to use that again.
    Raises   ValueError for a sigma that is not positive, or no copies.
    Source   PromptSmooth draws one sigma of the four for each view; in turn instead, every level has its share.
    """
    check_draws(copies, "noisy_bank", "copies")
    levels = [check_sigma(sigmas[c % len(sigmas)], "noisy_bank") for c in range(copies)]
    label = getattr(images, "labels", torch.full((len(images),), -1)) if labels is None else labels
    label = as_labels(label, len(images), "noisy_bank", name="labels")
    held, parts = list[Tensor](), list[Tensor]()

    def flush() -> None:
        if held:
            parts.append(vlm.encode_image(torch.cat(held)).float().cpu())
            held.clear()

    with torch.no_grad(), quiet(vlm), noisy_pixels():
        for i in tqdm(range(len(images)), desc="noisy bank", disable=not progress):
            image = (images[i] if isinstance(images, Tensor) else images.load(i)[0]).to(vlm.device)
            noise = Noise(seed, i, 1.0, role, tuple(image.shape), vlm.device).draws(0, copies)
            scale = torch.tensor(levels, device=vlm.device, dtype=torch.float32)[:, None, None, None]
            held.append(image + scale * noise)
            if sum(map(len, held)) >= batch_size:
                flush()
        flush()
    feature = torch.cat(parts).unflatten(0, (len(images), copies))
    return Bank(feature, label, torch.tensor(levels, dtype=torch.float32), (Stream(seed, role),))


def few_shot(prompt: Prompt, bank: Bank, *, epochs: int = 50) -> Prompt:
    """Learn the context from labelled noisy embeddings of all noise levels: one prompt for every sigma.

    Shapes   bank of N images and T copies.
    Units    epochs are walks through the bank, at most.
    Returns  a new Prompt, the one given stays; its head() is one and the same for all images, so certificates hold.
    Raises   ValueError if no image of the bank has a label, or for epochs below 1.
    Source   PromptSmooth, Hussein et al. 2024, arXiv 2408.16769: CoOp on noisy images of mixed sigma, 50 epochs.
             Differs: cached embeddings, not new noise each epoch; L-BFGS, so no learning rate, batches or seed.
    """
    check_draws(epochs, "few_shot", "epochs")
    known = bank.label >= 0
    if not known.any():
        raise ValueError("The 'bank' parameter of few_shot must hold labels; got none. Give noisy_bank labels.")
    feature = bank.feature[known].flatten(0, 1).to(prompt.vlm.device)
    label = bank.label[known].repeat_interleave(bank.feature.shape[1]).to(feature.device)
    learned = _fresh(prompt, bank.streams)
    context, most, search = [learned.context], epochs, "strong_wolfe"
    optimiser = torch.optim.LBFGS(context, max_iter=most, max_eval=most, history_size=20, line_search_fn=search)

    def walk() -> Tensor:
        loss = F.cross_entropy(learned.from_features(feature), label)
        (learned.context.grad,) = torch.autograd.grad(loss, [learned.context])
        return loss

    with torch.enable_grad():
        optimiser.step(walk)
    learned.context.grad = None
    return learned


def calibrate(prompt: Prompt, bank: Bank, *, steps: int = 10, lr: float = 5e-3, balance: float = 1.0) -> Prompt:
    """Tune the context on unlabelled noisy images that are none of the test images: zero-shot, and sound.

    Shapes   bank of N images and T copies.
    Units    lr of AdamW; balance weighs the entropy of the mean answer, which keeps the classes from falling together.
    Returns  a new Prompt; its head() is one and the same for all test images, so certificates hold.
    Raises   nothing of its own.
    Source   ours: the loss of PromptSmooth's zero-shot variant, averaged over images, with the diversity term of
             Liang et al. 2020 (SHOT), arXiv 2002.08546. The images must be disjoint from those certified.
    """
    feature = bank.feature.to(prompt.vlm.device)

    def loss(learned: Prompt, _: int) -> Tensor:
        logits = learned.from_features(feature)
        return marginal_entropy(logits).mean() - balance * marginal_entropy(logits.flatten(0, 1))

    return descend(prompt, loss, steps=steps, lr=lr, streams=bank.streams)


def marginal_entropy(logits: Tensor) -> Tensor:
    """Take the entropy of the mean answer to several views.

    Shapes   logits (..., T, K); result (...).
    Units    nats.
    Returns  the entropy of the mean softmax over the T views.
    Raises   nothing.
    Source   MEMO, Zhang et al. 2022, arXiv 2110.09506; as in PromptSmooth without a choice of confident views.
    """
    mean = logits.softmax(-1).mean(-2)
    return -(mean * mean.clamp_min(1e-30).log()).sum(-1)  # a sure answer has a gradient too: zero


def descend(
    prompt: Prompt, loss: Callable[[Prompt, int], Tensor], *, steps: int, lr: float, streams: Sequence[Stream]
) -> Prompt:
    """Descend on the context alone, with the published optimiser.

    Shapes   loss(prompt, step) is ().
    Units    lr of AdamW.
    Returns  a new Prompt that remembers the noise of both; the one given stays as it was.
    Raises   nothing of its own.
    Source   PromptSmooth, Hussein et al. 2024, arXiv 2408.16769: AdamW with weight decay 0.01.
    """
    learned = _fresh(prompt, streams)
    optimiser = torch.optim.AdamW([learned.context], lr=lr, weight_decay=0.01)
    with torch.enable_grad():
        for k in range(steps):
            (learned.context.grad,) = torch.autograd.grad(loss(learned, k), [learned.context])
            optimiser.step()
    learned.context.grad = None
    return learned


def _fresh(prompt: Prompt, streams: Sequence[Stream]) -> Prompt:
    """Copy the context and share the model; remember the noise of both."""
    learned = copy.copy(prompt)
    learned._parameters = {"context": nn.Parameter(prompt.context.detach().clone())}
    learned.streams = tuple(dict.fromkeys([*prompt.streams, *streams]))
    return learned
