"""What the notebooks of the chapter on smoothing compute and would be too long to show."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._images import noisy_pixels, to_pixels
from medadv.attacks import pgd
from medadv.certify.bounds import certified_radius, vote_pvalue
from medadv.certify.noise_stream import Noise
from medadv.certify.records import Certificate
from medadv.certify.sequential import StoppingRule, operating
from medadv.certify.votes import count
from medadv.objective import classify, expect
from medadv.threat import Threat


def logs(certificates: Sequence[Certificate], labels: Tensor) -> dict[str, pd.DataFrame]:
    """Turn certificates into one log for each head, as `read_log` would give it.

    Shapes   labels (N,); each log has a row for each image.
    Units    radius in pixel units, time in seconds.
    Returns  {head: DataFrame}.
    Raises   nothing.
    Source   the columns of locuslab/smoothing, and the counts.
    """
    found: dict[str, list[dict]] = {}
    for one in certificates:
        true = int(labels[one.index])
        row = {"idx": one.index, "label": true, "predict": one.predicted, "radius": one.radius}
        row |= {"correct": one.predicted == true, "time": one.seconds, "n": one.n, "count": one.count}
        found.setdefault(one.head, []).append(row)
    return {head: pd.DataFrame(rows) for head, rows in found.items()}


def disturbances(image: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
    """Disturb images as a clinic does, and as an attacker does, by little.

    Shapes   image (B, 3, H, W); every result the same.
    Units    pixels, cut to [0, 1].
    Returns  {what was done: images}.
    Raises   nothing.
    Source   ours. The attack is a random corner of the box: its size, not its direction, is what is shown.
    """
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 2, image.shape, generator=draw) * 2.0 - 1
    made = {
        "attack within 1/255": image + corner / 255,
        "brighter by one grey level": image + 1 / 255,
        "brighter by 2 %": image * 1.02,
        "JPEG, quality 95": _jpeg(image, 95),
        "JPEG, quality 75": _jpeg(image, 75),
        "turned by 2 degrees": _turned(image, 2.0),
        "shifted by one pixel": image.roll(1, dims=3),
        "noise of sigma 0.05": image + 0.05 * torch.randn(image.shape, generator=draw),
    }
    return {name: one.clamp(0, 1) for name, one in made.items()}


def size(other: Tensor, image: Tensor) -> Tensor:
    """Measure the L2 distance of images.

    Shapes   both (B, 3, H, W); result (B,).
    Units    pixel units.
    Returns  float tensor.
    Raises   nothing.
    Source   the root of the sum of squares.
    """
    return (other - image).flatten(1).norm(dim=1)


def ambush(
    head: nn.Module, image: Tensor, label: Tensor, radius: Tensor, *, sigma: float, steps: int = 10, draws: int = 4
) -> Tensor:
    """Attack the smoothed classifier inside a radius of each image: gradient steps in expectation over the noise.

    Shapes   image (B, 3, H, W), label (B,), radius (B,); result like image.
    Units    radius in L2 pixel units; the attack stays at 95 % of it.
    Returns  pixels in [0, 1]; the same seed of torch's global stream gives the same.
    Raises   nothing.
    Source   Madry et al. 2018 with the expectation of Athalye et al. 2018, arXiv 1707.07397, as Salman et al. 2019,
             arXiv 1906.04584, attack smoothed classifiers.
    """
    draw, moved = torch.Generator().manual_seed(0), []
    with noisy_pixels():
        for i in range(len(image)):

            def noisy(x: Tensor) -> Tensor:
                return x + sigma * torch.randn(x.shape, generator=draw)

            want = expect(classify(head, label[i : i + 1]), noisy, draws=draws)
            threat = Threat("l2", 0.95 * float(radius[i]))
            moved.append(pgd(want, image[i : i + 1], threat, steps=steps, stop=False, generator=draw).image)
    return torch.cat(moved)


def turned_away(head: nn.Module, image: Tensor, label: Tensor, *, sigma: float, n: int = 200, seed: int = 7) -> Tensor:
    """Ask by fresh votes whether the smoothed classifier says another class than the one named.

    Shapes   image (B, 3, H, W), label (B,); result (B,).
    Units    p-values: small where another class has significantly more votes; 1 where the named one leads.
    Returns  float tensor.
    Raises   nothing.
    Source   the test of PREDICT, Cohen et al. 2019, on noise of the role audit.
    """
    found = []
    for i, (x, k) in enumerate(zip(image, label.tolist(), strict=True)):
        votes = count([head], x, Noise(seed, i, sigma, "audit", tuple(x.shape)), 0, n)[0][0]
        rest = votes.clone()
        rest[k] = -1
        other, own = int(rest.max()), int(votes[k])
        found.append(float(vote_pvalue(other, own)) if other > own else 1.0)
    return torch.tensor(found)


def worth(rule: StoppingRule, p: Sequence[float]) -> pd.DataFrame:
    """Compute what a test would do on images of known probability, without drawing a vote.

    Shapes   p (B,); one row for each.
    Units    certified is a probability, draws a mean.
    Returns  DataFrame with p, certified and draws.
    Raises   nothing.
    Source   medadv.certify.sequential.operating.
    """
    made = {one: operating(rule, one) for one in sorted({float(one) for one in p})}
    return pd.DataFrame([{"p": float(one), **made[float(one)]._asdict()} for one in p])


def publish(log: pd.DataFrame, path: str | Path, *, sigma: float, mistakes: Mapping[str, float] | None = None) -> Path:
    """Write a log as the field publishes them, on request with a mistake in it.

    Shapes   one line for each image: idx, label, predict, radius with 3 digits, correct, time.
    Units    radius in pixel units.
    Returns  the path. mistakes: {"alpha": a} computes the radii at that alpha instead of 0.001, {"std": s} as though
             the noise had been added to images normalised by s, so that radii are told 1 / s too large.
    Raises   nothing.
    Source   the layout of locuslab/smoothing.
    """
    wrong, counts = dict(mistakes or {}), (log["count"].to_numpy(), log["n"].to_numpy())
    at = certified_radius(*counts, sigma=sigma, alpha=wrong.get("alpha", 0.001))
    radius = np.where(log["predict"] >= 0, at, 0.0) / wrong.get("std", 1.0)
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    for row, r in zip(log.to_dict("records"), radius.tolist(), strict=True):
        right = int(row["correct"])
        lines.append(f"{row['idx']}\t{row['label']}\t{row['predict']}\t{r:.3}\t{right}\t{row['time']:.3f}")
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def certainty(log: pd.DataFrame) -> np.ndarray:
    """Read the share of votes for the certified class, one half where the image abstained.

    Shapes   one number for each row.
    Units    proportions, kept off 1 by half a vote.
    Returns  float array: plug-in probabilities for planning, not bounds.
    Raises   nothing.
    Source   ours.
    """
    share = np.minimum(log["count"] / log["n"], 1 - 0.5 / log["n"])
    return np.where(log["predict"] >= 0, share, 0.5)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    made = []
    for x in image:
        file = io.BytesIO()
        Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        made.append(to_pixels(Image.open(file)))
    return torch.stack(made)


def _turned(image: Tensor, degrees: float) -> Tensor:
    turn = torch.tensor(np.deg2rad(degrees), dtype=image.dtype)
    matrix = torch.stack([turn.cos(), -turn.sin(), turn * 0, turn.sin(), turn.cos(), turn * 0]).view(1, 2, 3)
    grid = F.affine_grid(matrix.expand(len(image), 2, 3), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)
