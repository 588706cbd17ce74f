"""Parts of the study of the third chapter: a second model, and what is counted of an attack on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as keep
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor
from tqdm.auto import tqdm
from train_tiny import draw, phantom_files

from medadv.attacks.candidates import misspellings, synonyms
from medadv.attacks.multimodal import co_attack, separate, sga
from medadv.attacks.text import swap_words
from medadv.course.ch03.helpers import remembered
from medadv.course.ch03.pitfalls import off_by_one, opposites
from medadv.data.text_labels import phantom_meaning
from medadv.evaluate.retrieval import same_meaning
from medadv.models import image_features, text_features, tiny
from medadv.models.vlm import VLM
from medadv.objective import pairs
from medadv.threat import TextThreat, Threat
from medadv.train.loop import fit
from medadv.train.pretrain import contrastive

VISION: dict[str, Any] = {
    "image_size": 64,
    "timm_model_name": "convnext_atto",
    "timm_pool": "avg",
    "timm_proj": "linear",
}
TEXT: dict[str, Any] = {"context_length": 40, "vocab_size": 1024, "width": 96, "heads": 4, "layers": 2}


def second_model(folder: Path, *, phantoms: Path, images: int, steps: int, seed: int = 1) -> VLM:
    """Train a Med-VLM of another make on the phantoms of the first: ConvNeXt for the ResNet, a narrower text tower.

    The two share data and vocabulary, no weight, no start and no image tower. A killed run goes on where it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(96, VISION, TEXT)
    vlm = VLM(model, tiny.tokenizer(), name="second", preprocess={"size": 64, **tiny.CONFIG["preprocess_cfg"]})
    pixels, captions = phantom_files(images, phantoms, workers=2)
    fit(
        vlm,
        partial(draw, pixels, captions, 128),
        contrastive,
        steps=steps,
        lr=1e-3,
        weight_decay=0.1,
        seed=seed,
        device="cpu",
        checkpoint=folder / f"second_{images}_{steps}.pt",
        every=50,
    )
    return vlm.eval()


Found = dict[str, tuple[Tensor, list[str]]]
"""For each attack the changed images and the changed texts."""


def attack_all(vlm: VLM, image: Tensor, text: list[str], owner: Tensor, *, threat: str, seed: int) -> Found:
    """Attack pairs in every way at one budget: so many grey levels, one word. What is not changed stays clean."""
    encode, meaning = remembered(vlm.encode_text), keep(phantom_meaning)
    sources = [synonyms(), misspellings(seed, each=3)]

    def words(want, texts, *, many: int = 1, rules: bool = True, of=sources):
        allowed = TextThreat(many) if rules else TextThreat(many, protected=frozenset())
        how: dict[str, Any] = {"encode": encode, "sources": of, "meaning": meaning if rules else None, "stop": False}
        return swap_words(want, texts, allowed, **how)

    found: Found = {"none": (image, text)}
    together = {"owner": owner, "text_attack": words, "batch_size": 128}
    ways: dict[str, Any] = {
        "separate": separate,
        "Co-Attack": co_attack,
        "Co-Attack, whole set": partial(co_attack, together=True),
        "SGA": sga,
    }
    for name, way in tqdm(ways.items(), desc="attacks on pairs"):
        draws = torch.Generator().manual_seed(seed)
        done = way(vlm, image, text, Threat.parse(threat), generator=draws, **together)
        found[name] = done.image, done.text
    own = torch.from_numpy(same_meaning(text, owner.numpy(), len(image)))
    want = pairs(_same, image_features(vlm, image), own.T)
    found["two words"] = image, words(want, text, many=2).text
    found["any word, no rule"] = image, words(want, text, rules=False, of=[*sources, opposites()]).text
    found["off by one, no rule"] = image, words(want, text, rules=False, of=[off_by_one(*sources)]).text
    return found


def _same(embedding: Tensor) -> Tensor:
    return embedding


def places(vlm: VLM, found: Found, owner: Tensor) -> dict[str, np.ndarray]:
    """For every attack, changed side and direction: how many wrong answers come before the first right one."""
    seen = {name: image_features(vlm, image) for name, (image, _) in found.items()}
    told = {name: text_features(vlm, text) for name, (_, text) in found.items()}
    clean, counted = found["none"][1], {}
    for name in found:
        sides = {"image": (name, "none"), "text": ("none", name), "both": (name, name)}
        for side, (images, texts) in sides.items() if name != "none" else [("nothing", ("none", "none"))]:
            right = same_meaning(clean, owner.numpy(), len(seen[name]))
            right |= same_meaning(found[texts][1], owner.numpy(), len(seen[name]))
            table = (seen[images] @ told[texts].T).numpy()
            counted[f"{name}|{side}|i2t"] = _before(table, right)
            counted[f"{name}|{side}|t2i"] = _before(table.T, right.T)
    return counted


def _before(table: np.ndarray, right: np.ndarray) -> np.ndarray:
    best = np.where(right, table, -np.inf).max(1, keepdims=True)
    return ((table >= best) & ~right).sum(1)


def both_ways(counted: dict[str, np.ndarray], name: str, side: str, owner: np.ndarray, *, k: int = 1) -> np.ndarray:
    """One number an image: the mean of its own recall at k and that of its texts."""
    image, text = (counted[f"{name}|{side}|{way}"] < k for way in ("i2t", "t2i"))
    return (image + np.bincount(owner, text) / np.bincount(owner)) / 2


def otherwise(clean: Sequence[str], changed: Sequence[str]) -> np.ndarray:
    """Say which changed texts mean something else."""
    return np.array([phantom_meaning(a) != phantom_meaning(b) for a, b in zip(clean, changed, strict=True)])
