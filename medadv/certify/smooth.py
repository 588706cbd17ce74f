"""Certify and predict with the smoothed classifier: what most noisy copies of an image are taken for.

The noise is added to pixels in [0, 1], before the model resizes and normalises, and is never clamped, so the radius is
an L2 distance in pixels of the image given here. Every draw has its own place in a counter-based stream
(`medadv.certify.noise_stream`): neither batch size nor order nor processes nor a restart change a certificate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from medadv._fingerprint import digest, image_mark
from medadv._images import check_pixels
from medadv._lock import locked
from medadv.certify._validate import check_alpha, check_draws, check_sigma, classes_of
from medadv.certify.bounds import predict_votes
from medadv.certify.noise_stream import Noise, kind
from medadv.certify.plans import Plan, describe, make_plan
from medadv.certify.records import Certificate
from medadv.certify.shards import CertificateLog, check_shard, shard_file
from medadv.certify.votes import as_head_dict, count, encode, place_of, refuse_fitted, vote_scale
from medadv.models.head import as_head


def certify(
    heads: Any,
    images: Any,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    method: str = "fixed",
    radii: Sequence[float] | float = (),
    labels: Sequence[int] | Tensor | None = None,
    ids: Sequence[int | str] | None = None,
    seed: int = 0,
    batch_size: int = 128,
    file: str | Path | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> list[Certificate]:
    """Certify many images for many heads on one pass of noisy copies.

    Shapes   heads: one, a list or a dictionary, each pixels (B, 3, H, W) to logits (B, K), or to one logit (B,) or
             (B, 1) of class 1 against class 0; images (N, 3, H, W), or a data set with `load`; labels (N,), only for
             the log; ids (N,), names that the noise hangs on (0, 1, ...).
    Units    images in [0, 1]; sigma and radii in pixel units; n0 and n in noisy copies; alpha per image and head.
    Returns  certificates ordered by image, then head. method: fixed (n votes, the exact radius: CERTIFY), target (is
             `radii`, one number, certified? stops early), ladder (the largest of `radii`, stops early), two-stage
             (the n0 votes plan how many fresh ones certify). With `file`, a log that a killed run goes on with; with
             shard=(i, of), images i, i + of, ... alone, in a log of their own that `gather` joins. A log goes on with
             more images or heads.
    Raises   ValueError for a head fitted on this noise, a radius out of reach (it says which n would do), a log of
             other images, labels, heads or settings or one that another process writes, a head without fingerprint
             where there is a file, and a bad sigma, alpha or n. FloatingPointError for a head that says NaN.
    Source   Cohen et al. 2019, arXiv 1902.02918, CERTIFY. Differs: see medadv.certify.sequential for the tests that
             stop early, and `Certificate.guarantee` for heads that tune themselves.
    """
    entries, job = as_head_dict(heads, "certify"), Job(check_sigma(sigma, "certify"), seed, batch_size)
    n0, n, alpha = check_draws(n0, "certify", "n0"), check_draws(n, "certify"), check_alpha(alpha, "certify")
    refuse_fitted(entries, seed=seed, roles=("estimate", "inside"))
    plans = {}
    for name, head in entries.items():
        own = alpha / head.parts  # a route and its head: half of alpha for each
        plans[name] = make_plan(method, radii, sigma=sigma * vote_scale(head), n0=n0, n=n, alpha=own)
    names = _names(images, ids)
    truth = classes_of(getattr(images, "labels", None) if labels is None else labels, len(names), "certify")
    numbers = kind(place_of(next(iter(entries.values()))))
    told = describe(method, radii, n) + ("" if numbers == "philox" else f" ({numbers})")
    facts: dict[str, Any] = {"sigma": sigma, "alpha": alpha, "n0": n0, "seed": seed, "plan": told}
    check_shard(shard)
    found = []
    with locked(None if file is None else shard_file(file, shard)), torch.inference_mode(False):
        log = CertificateLog(file, entries, truth, partial(_mark, images, names), shard=shard, **facts)
        for i in tqdm(range(shard[0], len(names), shard[1]), desc="certifying", disable=not progress):
            left = {name: head for name, head in entries.items() if (i, name) not in log.rows}
            if left:
                made = _certify_one(left, plans, job, _image(images, i), names[i], n0=n0)
                facts["label"] = truth[i] if truth else -1
                log.add([Certificate(index=i, head=name, **facts | row) for name, row in made.items()])
            found += [log.rows[i, name] for name in entries]
    return found


def predict(
    heads: Any,
    images: Any,
    *,
    sigma: float,
    n: int = 1000,
    alpha: float = 0.001,
    ids: Sequence[int | str] | None = None,
    seed: int = 0,
    batch_size: int = 128,
    progress: bool = True,
) -> Tensor:
    """Name the smoothed classifier's class for many images, or abstain: what a deployed system would do.

    Shapes   heads and images as certify; result (V, N), one row for each head.
    Units    images in [0, 1]; sigma in pixel units; alpha is the chance of a wrong name, per image and head.
    Returns  int64 classes, -1 where the two best are too near. A head that tunes itself does so on these images.
    Raises   as certify.
    Source   Cohen et al. 2019, PREDICT, with noise of its own role.
    """
    entries, job = as_head_dict(heads, "predict"), Job(check_sigma(sigma, "predict"), seed, batch_size)
    check_draws(n, "predict"), check_alpha(alpha, "predict")
    refuse_fitted(entries, seed=seed, roles=("predict", "inside"))
    names, rows = _names(images, ids), []
    with torch.inference_mode(False):
        for i in tqdm(range(len(names)), desc="predicting", disable=not progress):
            image, voters = job.ready(entries, _image(images, i), names[i])
            noise, named_as = job.noise(names[i], "predict", image), list(voters)
            votes = count(list(voters.values()), image, noise, 0, n, batch_size=batch_size, names=named_as)
            rows.append([_winner(ballots, alpha) for ballots in votes])
    return torch.tensor(rows, dtype=torch.int64).reshape(len(names), len(entries)).T


@dataclass(frozen=True)
class Job:
    """What stays the same over the images of a run."""

    sigma: float
    seed: int
    batch_size: int

    def noise(self, image: int | str, role: str, like: Tensor) -> Noise:
        """Return one image's noise in one role."""
        return Noise(self.seed, image, self.sigma, role, tuple(like.shape), like.device)

    def ready(self, heads: dict[str, Any], image: Tensor, name: int | str) -> tuple[Tensor, dict[str, Any]]:
        """Put the image where the heads are; heads that tune themselves do it here, on noise of the role adapt."""
        image = image.to(place_of(next(iter(heads.values()))), torch.float32)
        seen: dict[int, Tensor] = {}
        voters = {}
        for key, head in heads.items():
            head = as_head(head)
            if head.views:
                if len(seen.get(id(head.vlm), ())) < head.views:
                    noise = self.noise(name, "adapt", image)
                    seen[id(head.vlm)] = encode(head.vlm, image, noise, 0, head.views, batch_size=self.batch_size)
                head = as_head(head.at(seen[id(head.vlm)][: head.views]))
            voters[key] = head
        return image, voters


def _certify_one(
    heads: dict[str, Any], plans: dict[str, Plan], job: Job, image: Tensor, name: int | str, *, n0: int
) -> dict[str, dict[str, Any]]:
    began = time.perf_counter()
    image, voters = job.ready(heads, image, name)
    size, select = job.batch_size, job.noise(name, "select", image)
    votes = count(list(voters.values()), image, select, 0, n0, batch_size=size, names=list(voters))
    first = dict(zip(voters, votes, strict=True))
    # A part is a ballot and the class it must name: mostly one; for a routed head the route, and then its head's class.
    parts = {key: _parts(ballots) for key, ballots in first.items()}
    runs = {key: plans[key].start(_votes(first[key], parts[key])[-1], len(parts[key])) for key in voters}
    noise, seen = job.noise(name, "estimate", image), 0
    while going := [key for key in voters if not runs[key].done]:
        stop = min(runs[key].next_look for key in going)
        more = count([voters[key] for key in going], image, noise, seen, stop, batch_size=size, names=going)
        for key, ballots in zip(going, more, strict=True):
            runs[key].add(stop, _votes(ballots, parts[key]))
        seen = stop
    rows, spent = {}, time.perf_counter() - began
    for key, run in runs.items():
        row = run.outcome()
        row["predicted"] = parts[key][-1][1] if row.pop("certified") else -1
        row |= {"n0": n0, "count0": _votes(first[key], parts[key])[-1], "guarantee": heads[key].guarantee}
        rows[key] = {**row, "seconds": spent}
    return rows


def _parts(ballots: list[Tensor]) -> list[tuple[int, int]]:
    """Which ballots count, and the class each must name; of several, the first says which of the others counts."""
    top = [int(ballot.argmax()) for ballot in ballots]
    return [(0, top[0])] if len(ballots) == 1 else [(0, top[0]), (1 + top[0], top[1 + top[0]])]


def _winner(ballots: list[Tensor], alpha: float) -> int:
    """PREDICT; a routed head must be sure of its route and of the class, each at half of alpha."""
    sure = [int(predict_votes(ballots[b], alpha=alpha / len(_parts(ballots)))) for b, _ in _parts(ballots)]
    return -1 if -1 in sure else sure[-1]


def _votes(ballots: list[Tensor], parts: list[tuple[int, int]]) -> list[int]:
    return [int(ballots[b][k]) for b, k in parts]


def _names(images: Any, ids: Sequence[int | str] | None) -> list[int | str]:
    names: list[int | str] = [*range(len(images))] if ids is None else [*ids]
    if len(names) != len(images) or len(set(names)) != len(names):
        raise ValueError(
            f"The 'ids' parameter must name each of the {len(images)} images once; got {len(names)} names, "
            f"{len(set(names))} of them different. Two images of one name would share their noise."
        )
    return names


def _mark(images: Any, names: Sequence[int | str], i: int) -> str:
    """What tells image i from others: its content, and its name where that is not its number."""
    content, name = image_mark(_image(images, i)), names[i]
    return content if type(name) is int and name == i else digest((content, name))


def _image(images: Any, i: int) -> Tensor:
    image = images[i] if isinstance(images, Tensor) else images.load(i)[0]
    if not (image.ndim == 3 and image.is_floating_point() and image.min() >= -1e-6 and image.max() <= 1 + 1e-6):
        check_pixels(image[None] if image.ndim == 3 else image, "certify")
    return image.clone() if image.is_inference() else image
