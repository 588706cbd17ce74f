"""What the notebooks of the third chapter compute and would be too long to show."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv.attacks.candidates import Source
from medadv.attacks.text import TextResult, swap_words
from medadv.data.pairs import Pairs
from medadv.data.text_labels import phantom_meaning
from medadv.evaluate.metrics import Estimate
from medadv.models import VLM, text_features
from medadv.objective import Objective, leave
from medadv.reports.report import Report
from medadv.threat import TextThreat
from medadv.types import Score


def remembered(encode: Callable[[Sequence[str]], Tensor]) -> Callable[[Sequence[str]], Tensor]:
    """Embed every text once and remember it: attacks on the same texts ask for the same candidates again and again.

    Shapes   encode: M texts to (M, D); the result the same.
    Units    none.
    Returns  a function for the `encode` parameter of `swap_words`. It must not outlive a change of the weights.
    Raises   whatever encode raises.
    Source   ours.
    """
    known: dict[str, Tensor] = {}

    def look(text: Sequence[str]) -> Tensor:
        new = [one for one in dict.fromkeys(text) if one not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return torch.stack([known[one] for one in text])

    return look


def captions_of(pairs: Pairs, each: int = 5) -> tuple[list[str], Tensor]:
    """List the first captions of every image, and whose they are.

    Shapes   N images; M = N * each texts, owner (M,).
    Units    none.
    Returns  (texts, owner).
    Raises   ValueError if an image has fewer captions.
    Source   ours.
    """
    short = [i for i, row in enumerate(pairs.rows) if len(row.captions) < each]
    if short:
        raise ValueError(
            f"The 'each' parameter of captions_of must be at most the captions of every image; got {each}, and image "
            f"{short[0]} has {len(pairs.rows[short[0]].captions)}. Ask for fewer."
        )
    texts = [caption for row in pairs.rows for caption in row.captions[:each]]
    return texts, torch.arange(len(pairs)).repeat_interleave(each)


def same(embedding: Tensor) -> Tensor:
    """Return what came: an objective over it judges embeddings.

    Shapes   any.
    Units    none.
    Returns  the argument.
    Raises   nothing.
    Source   ours.
    """
    return embedding


def degrees(one: Tensor, other: Tensor) -> Tensor:
    """Measure the angles between embeddings, row by row.

    Shapes   both (N, D); result (N,).
    Units    degrees.
    Returns  float tensor.
    Raises   nothing.
    Source   definition.
    """
    return torch.rad2deg(torch.nn.functional.cosine_similarity(one, other, dim=1).clamp(-1, 1).acos())


def farthest(
    vlm: VLM, text: Sequence[str], sources: Source | Sequence[Source], *, words: int = 1, rules: bool = True
) -> TextResult:
    """Turn each text as far from itself as so many words can.

    Shapes   N texts.
    Units    words.
    Returns  TextResult. With `rules` words are protected and the meaning of the caption must stay; without, neither.
    Raises   whatever `swap_words` raises.
    Source   ours; the text half of Zhang et al. 2022, arXiv 2206.09391.
    """
    threat = TextThreat(words) if rules else TextThreat(words, protected=frozenset())
    anchor = text_features(vlm, text)
    want = leave(same, anchor, below=-1.0)
    meaning = phantom_meaning if rules else None
    return swap_words(want, text, threat, encode=vlm.encode_text, sources=sources, meaning=meaning, stop=False)


def misread(feature: Tensor, label: Tensor, prompt: Tensor) -> Objective:
    """Want the prompt of a class to lose that class's images, the other prompts staying as they are.

    Shapes   feature (N, D), label (N,), prompt (K, D), all unit; it judges embeddings (K, D), one for each class.
    Units    cosine: the mean lead of the best other class over the images of the class.
    Returns  Objective; won where more than half of its images are lost.
    Raises   ValueError if a class has no image.
    Source   ours.
    """
    absent = [k for k in range(len(prompt)) if not (label == k).any()]
    if absent:
        raise ValueError(f"The 'label' parameter of misread must show every class; class {absent[0]} has no image.")
    near = feature @ prompt.T
    own = torch.nn.functional.one_hot(label, len(prompt)).bool()
    rival = near.masked_fill(own, -torch.inf).amax(1)

    def judge(embedding: Tensor, mine: Tensor) -> Score:
        lead = rival[None] - embedding @ feature.T
        many = mine.sum(1)
        lost = ((lead >= 0) & mine).sum(1)
        return Score((lead * mine).sum(1) / many, 2 * lost > many)

    return Objective(judge, (own.T,))


def edits_table(clean: Sequence[str], result: TextResult, rows: Sequence[int]) -> list[str]:
    """Write what an attack changed, a line for each text.

    Shapes   rows are numbers of texts.
    Units    none.
    Returns  lines "before -> after, caption", with dots for long captions.
    Raises   nothing.
    Source   ours.
    """
    lines = []
    for i in rows:
        changed = ", ".join(f"{a} -> {b}" for _, a, b in result.edits[i]) or "nothing"
        lines.append(f"{changed:30s} {clean[i] if len(clean[i]) < 55 else clean[i][:52] + '...'}")
    return lines


def recalls(report: Report, attack: str, *, k: int = 1) -> dict[str, dict[str, Estimate]]:
    """Take the rows of one attack out of a report on retrieval under attack, for `plots.bars`.

    Shapes   {what was changed: {direction: Estimate}}.
    Units    proportions.
    Returns  a dictionary; the worst case per query comes last.
    Raises   KeyError if there is no such attack or no such k.
    Source   ours.
    """
    directions = {"image to text": "i2t", "text to image": "t2i"}
    rows = {"nothing": ("none", "nothing")} | {c: (attack, c) for c in ("image", "text", "both", "worst")}
    return {
        shown: {name: report[f"recall@{k}", who, changed, way] for name, way in directions.items()}
        for shown, (who, changed) in rows.items()
    }


class LinearReader:
    """An image-text model without a network: canonical correlations of small pictures and letter triples.

    It has the calls of a VLM that retrieval needs. It is a weak reader, and a *weak substitute* for a second Med-VLM
    in questions of transfer: what carries over to it, carries over between very different models.
    """

    name, truncated, device = "linear reader", 0, torch.device("cpu")

    def __init__(self, train: Pairs, *, width: int = 48, ridge: float = 0.05, each: int = 4):
        view, words = [], []
        for batch, rows in zip(train.batches(250), torch.arange(len(train)).split(250), strict=True):
            captions = [train.rows[i].captions[:each] for i in rows.tolist()]
            view.append(_small(batch.image).repeat_interleave(each, 0))
            words.append(_triples([one for many in captions for one in many]))
        x, y = torch.cat(view), torch.cat(words)
        self.means = x.mean(0), y.mean(0)
        x, y = x - self.means[0], y - self.means[1]
        a, b = _whitener(x, ridge), _whitener(y, ridge)
        left, strength, right = torch.linalg.svd(a @ (x.T @ y / len(x)) @ b)
        scale = strength[:width].sqrt()
        self.maps = a @ left[:, :width] * scale, b @ right[:width].T * scale

    def encode_image(self, image: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) as (B, width), unit length."""
        return F.normalize((_small(image) - self.means[0]) @ self.maps[0], dim=1).float()

    def encode_text(self, text: Sequence[str]) -> Tensor:
        """Embed M sentences as (M, width), unit length."""
        return F.normalize((_triples(text) - self.means[1]) @ self.maps[1], dim=1).float()


def _small(image: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(image, 16).flatten(1).double()


def _triples(text: Sequence[str], many: int = 512) -> Tensor:
    """Count the letter triples of each text, by the remainder of a checksum, and take the root."""
    found = torch.zeros(len(text), many, dtype=torch.float64)
    for row, one in enumerate(text):
        said = f"  {one.lower()}  "
        for i in range(len(said) - 2):
            found[row, zlib.crc32(said[i : i + 3].encode()) % many] += 1
    return found.sqrt()


def _whitener(x: Tensor, ridge: float) -> Tensor:
    value, vector = torch.linalg.eigh(x.T @ x / len(x))
    return vector @ ((value + ridge * value.mean()).rsqrt()[:, None] * vector.T)
