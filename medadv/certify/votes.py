"""Noisy copies in, votes out: any number of heads vote on one pass of the image tower, and are counted where they are.

A head is a `medadv.models.Head`, or anything that maps pixels to logits (B, K). One that has `vlm` and `from_features`
shares the embeddings of the noisy copies with all others on the same model; any other sees the noisy pixels. Further
attributes of a head, and of a function or module that is none, all optional:

    guarantee    what its certificate rests on, one of GUARANTEES; "fixed" where nothing is said
    streams      the Streams it was fitted on; noise of these never certifies it
    views, at    it tunes itself on `views` noisy copies of each image: at(embeddings (T, D)) gives the head that votes
    copies, ratio, from_copies    a vote is cast on one copy and `copies` fresh ones of noise ratio * sigma:
                                  from_copies(embeddings (B, D), further (B, T, D)) gives logits
    ballots      it casts several votes at once: ballots(embeddings) gives a list of logits
    fingerprint  a text that names what decides its votes beside its weights; plain functions need one to keep a log
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from medadv import _device
from medadv._fingerprint import told_apart
from medadv._images import noisy_pixels
from medadv._labels import as_logits
from medadv._quiet import quiet
from medadv.certify.noise_stream import Noise, Stream
from medadv.models.head import ForeignHead, Head, as_head

GUARANTEES = ("fixed", "random-base", "composed", "routed", "prompt-frozen-at-x")
"""What a certificate rests on. fixed: one head for all images, the theorem as it stands. random-base: the head tunes
itself on each noisy copy alone. composed: tuning and voting noise are fresh for every vote and both are paid for.
routed: a smoothed choice among fixed heads, certified too. prompt-frozen-at-x: the head was tuned on the clean image's
copies; the radius holds for that head, not for the system, which tunes itself anew on what an attacker shows it."""


def as_head_dict(heads: Any, where: str) -> dict[str, Head]:
    """Turn one head, a list or a dictionary of heads into names and heads.

    Shapes   V heads.
    Units    none.
    Returns  dict; a list is named by its numbers, one head "head".
    Raises   ValueError for no heads, one that cannot be called, or an unknown guarantee.
    Source   ours.
    """
    if isinstance(heads, Mapping):
        found = {str(name): head for name, head in heads.items()}
    elif isinstance(heads, Sequence):
        found = {str(i): head for i, head in enumerate(heads)}
    else:
        found = {"head": heads}
    if not found:
        raise ValueError(f"The 'heads' parameter of {where} must hold a head; got none. Make one with ZeroShot.")
    for name, head in found.items():
        if not callable(head):
            raise ValueError(f"The 'heads' parameter of {where} must hold functions of pixels; {name} is {type(head)}.")
        if guarantee_of(head) not in GUARANTEES:
            raise ValueError(
                f"The guarantee of head {name} must be one of {', '.join(GUARANTEES)}; got {guarantee_of(head)!r}."
            )
    return {name: as_head(head) for name, head in found.items()}


def guarantee_of(head: Any) -> str:
    """Say what a certificate of this head rests on.

    Shapes   none.
    Units    none.
    Returns  one of GUARANTEES; "fixed" where the head says nothing.
    Raises   nothing.
    Source   ours.
    """
    return as_head(head).guarantee


def refuse_fitted(heads: Mapping[str, Any], *, seed: int, roles: Sequence[str]) -> None:
    """Refuse heads that were fitted on the very noise that is to certify them.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   ValueError that names the head and the remedy.
    Source   ours: the binomial law of the votes asks for draws that the head has not seen.
    """
    for name, head in heads.items():
        for role in roles:
            if Stream(seed, role) in as_head(head).streams:
                raise ValueError(
                    f"The 'seed' parameter of certification must differ from {seed}: head {name} was fitted on the "
                    f"{role!r} noise of that seed, and votes it has seen prove nothing. Take another seed, or fit on "
                    "the role 'train'."
                )


def encode(vlm: Any, image: Tensor, noise: Noise, start: int, stop: int, *, batch_size: int = 128) -> Tensor:
    """Embed the noisy copies start to stop - 1 of one image.

    Shapes   image (C, H, W); result (stop - start, D).
    Units    image in [0, 1]; noise is added in pixels, before the model normalises, and not clamped.
    Returns  embeddings on the model's device, without gradient.
    Raises   whatever the model raises.
    Source   ours.
    """
    with torch.no_grad(), quiet(vlm), noisy_pixels():
        return torch.cat([vlm.encode_image(image + eps) for eps in noise.batches(start, stop, size=batch_size)])


def count(
    heads: Sequence[Any],
    image: Tensor,
    noise: Noise,
    start: int,
    stop: int,
    *,
    batch_size: int = 128,
    names: Sequence[str] = (),
) -> list[list[Tensor]]:
    """Let every head vote on the noisy copies start to stop - 1 of one image.

    Shapes   image (C, H, W); for each head one count (K,) for each of its ballots, mostly one.
    Units    counts of votes; image in [0, 1]; names are those of the heads, for errors.
    Returns  int64 counts on the CPU; they leave the device once.
    Raises   FloatingPointError if a head says NaN, with head, image and how many copies; ValueError for no logits.
    Source   Cohen et al. 2019, arXiv 1902.02918, SampleUnderNoise. Differs: heads share the embeddings, as Nirala et
             al. 2024, arXiv 2311.09024, do; the votes are those of separate runs, bit for bit.
    """
    heads = [as_head(head) for head in heads]
    votes: list[list[Tensor]] = [[] for _ in heads]
    bad, first = torch.zeros(len(heads), dtype=torch.int64, device=noise.device), start
    with torch.no_grad(), quiet(*heads), noisy_pixels():
        for eps in noise.batches(start, stop, size=batch_size):
            noisy, shared = image + eps, dict[int, Tensor]()
            for v, head in enumerate(heads):
                ballots = _ballots(head, noisy, shared, image, noise, start)
                ballots = [_of_two_classes(logits, len(noisy)) for logits in ballots]
                votes[v] = votes[v] or _no_votes(ballots, len(noisy), _name(names, v))
                for tally, logits in zip(votes[v], ballots, strict=True):
                    best, label = logits.max(1)
                    bad[v] += (~(best > -torch.inf)).sum()  # true of NaN too
                    tally.index_add_(0, label, torch.ones_like(label))
            start += len(eps)
    if bad.any():
        v = int(bad.argmax())
        raise FloatingPointError(
            f"The head {_name(names, v)} gave NaN for {int(bad[v])} of {stop - first} noisy copies of image "
            f"{noise.image}. Check its weights, and use float32 or bfloat16."
        )
    tallies = [tally for own in votes for tally in own]
    flat = iter(torch.cat(tallies).cpu().split([len(tally) for tally in tallies]))
    return [[next(flat) for _ in own] for own in votes]


def _name(names: Sequence[str], v: int) -> str:
    return repr(names[v] if v < len(names) else str(v))


def _of_two_classes(logits: Any, copies: int) -> Any:
    """Turn one logit for each copy into two classes, as everywhere else; anything else is returned as it is."""
    single = isinstance(logits, Tensor) and logits.is_floating_point() and logits.shape in ((copies,), (copies, 1))
    return as_logits(logits, copies) if single else logits


def _no_votes(ballots: list[Any], copies: int, name: str) -> list[Tensor]:
    """Empty tallies, one for each ballot; what is no row of logits for each copy is refused."""
    for logits in ballots:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else None
        if shape is None or len(shape) != 2 or shape[0] != copies or shape[1] < 2:
            got = f"a {type(logits).__name__}" if shape is None else f"shape {shape} for {copies} images"
            raise ValueError(
                f"The 'heads' parameter of certify must give logits (B, K), or one logit for each image; head {name} "
                f"gave {got}. Return the tensor of logits alone."
            )
    return [torch.zeros(one.shape[1], dtype=torch.int64, device=one.device) for one in ballots]


def vote_scale(head: Any) -> float:
    """Say which part of sigma a vote's copies are worth together: 1 for one copy.

    Shapes   none.
    Units    none.
    Returns  1 / sqrt(1 + T / ratio**2) for T further copies of noise ratio * sigma.
    Raises   nothing.
    Source   Gaussian differential privacy composed, as in Lyu et al. 2024 (adaptive randomized smoothing), arXiv
             2406.10427: one number tells two images from each other as well as all the copies do.
    """
    head = as_head(head)
    return 1 / math.sqrt(1 + head.copies / head.ratio**2) if head.copies else 1.0


def fingerprint(head: Any) -> str:
    """Hash what decides a head's votes: weights, its model's included, attributes, and what it says of itself.

    Shapes   none.
    Units    none.
    Returns  12 hexadecimal digits; two heads that share them give the same votes.
    Raises   ValueError for a plain function, or a module with an attribute that cannot be read, unless it carries a
             text `fingerprint` that names what decides its votes.
    Source   ours.
    """
    head = _original(head)
    if not isinstance(head, nn.Module) and not isinstance(getattr(head, "fingerprint", None), str):
        raise ValueError(
            f"The 'heads' parameter of certify must be told from others before votes are kept in a file; got a plain "
            f"{type(head).__name__}, which could be any. Write a text into its attribute 'fingerprint' that names what "
            "decides its votes, or keep no file."
        )
    what = f"the head {type(head).__name__}"
    return told_apart([head, guarantee_of(head)], name="heads", where="certify", what=what)


def place_of(head: Any) -> torch.device:
    """Find the device a head computes on.

    Shapes   none.
    Units    none.
    Returns  the device of its first weight; the CPU where it has none.
    Raises   nothing.
    Source   ours.
    """
    head = _original(head)
    return _device.device_of([head] if isinstance(head, nn.Module) else [])


def _original(head: Any) -> Any:
    """What the user gave."""
    return head.inner if isinstance(head, ForeignHead) else head


def _ballots(head: Any, noisy: Tensor, shared: dict[int, Tensor], image: Tensor, noise: Noise, start: int) -> list:
    if not head.on_embeddings:
        return [head(noisy)]
    if id(head.vlm) not in shared:
        shared[id(head.vlm)] = head.vlm.encode_image(noisy)
    feature = shared[id(head.vlm)]
    if not head.copies:
        return head.ballots(feature)
    # Selecting and certifying votes number their copies from 0 alike, so the role goes into the address.
    fresh = replace(noise, role="inside", image=f"{noise.image!r} {noise.role}", sigma=noise.sigma * head.ratio)
    start, stop = start * head.copies, (start + len(noisy)) * head.copies
    further = encode(head.vlm, image, fresh, start, stop, batch_size=len(noisy))
    return [head.from_copies(feature, further.view(len(noisy), head.copies, -1))]
