"""What the notebooks of the first chapter compute and would be too long to show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medadv.course.figures import Figure, gallery
from medadv.data import folders, read_tidy
from medadv.data.pairs import Pairs
from medadv.data.phantoms import MODALITIES
from medadv.models import VLM, text_features

FULL_SETS = {"isic2017_256": "dermoscopy", "mhh_covid_cxr": "chest radiograph", "busi_us256": "breast ultrasound"}


def one_of_each(pairs: Pairs) -> list[int]:
    """Find the first image of every class.

    Shapes   one row number for each of the K classes, in their order.
    Units    none.
    Returns  list of row numbers.
    Raises   ValueError if a class has no image.
    Source   ours.
    """
    labels = pairs.labels.tolist()
    absent = [name for k, name in enumerate(pairs.classes) if k not in labels]
    if absent:
        raise ValueError(
            f"The 'pairs' parameter of one_of_each must show every class; got none of {absent}. Take more images."
        )
    return [labels.index(k) for k in range(len(pairs.classes))]


def real_beside(*, n: int = 4, size: int = 64) -> Figure | str:
    """Show real images of the kinds that phantoms imitate, where their folders are on this machine.

    Shapes   n images from each folder.
    Units    size in pixels.
    Returns  a gallery, or one sentence where MEDADV_DATA is not set. Pictures of patients are never stored.
    Raises   whatever reading the folders raises.
    Source   ours.
    """
    images, titles = [], []
    for name, path in folders().items():
        if name in FULL_SETS:
            pairs = read_tidy(path, size=size)
            rows = np.linspace(0, len(pairs) - 1, n).astype(int).tolist()
            images += [pairs.load(i)[0] for i in rows]
            titles += [f"real {FULL_SETS[name]}: {pairs.classes[pairs.rows[i].label]}" for i in rows]
    if not images:
        return "MEDADV_DATA is not set, so there are no real images to show beside the phantoms."
    return gallery(images, titles, alt="Real medical images of three kinds.", columns=n)


def wordings() -> dict[str, tuple[str, ...]]:
    """Word the classes of the phantoms in four ways, from the fullest to the barest.

    Shapes   each a phrase for each of the K classes, in their order.
    Units    none.
    Returns  {name of the wording: phrases}.
    Raises   nothing.
    Source   ours.
    """
    known = [(module, key, text) for module in MODALITIES.values() for key, text in module.PROMPTS.items()]

    def other_noun(module: Any, text: str) -> str:
        used = next((noun for noun in sorted(module.NOUNS, key=len, reverse=True) if noun in text), None)
        return text if used is None else text.replace(used, next(noun for noun in module.NOUNS if noun != used))

    return {
        "image and finding": tuple(text for _, _, text in known),
        "another word for the image": tuple(other_noun(module, text) for module, _, text in known),
        "keywords": tuple(f"{module.NOUNS[0]}: {key}" for module, key, _ in known),
        "finding alone": tuple(key for _, key, _ in known),
    }


def blocks(text: Tensor, size: int) -> str:
    """Say how close captions lie inside and between the blocks of a table of cosines.

    Shapes   text (N, D) of unit length, `size` rows for each image.
    Units    cosine.
    Returns  one sentence.
    Raises   nothing.
    Source   ours.
    """
    cosine, number = text @ text.T, torch.arange(len(text)) // size
    same = number[:, None] == number
    inner = cosine[same & ~torch.eye(len(text), dtype=torch.bool)].mean()
    return f"Mean {inner:.2f} between captions of one image, {cosine[~same].mean():.2f} across."


def caption_spread(vlm: VLM, pairs: Pairs) -> dict[str, float]:
    """Measure how close captions lie: of one image, of one class, of one modality, of different ones.

    Shapes   N images with six captions or so each.
    Units    mean cosine.
    Returns  {what was compared: mean cosine}.
    Raises   ValueError if an image has no caption.
    Source   ours.
    """
    owner = torch.tensor([i for i, row in enumerate(pairs.rows) for _ in row.captions])
    text = text_features(vlm, [caption for row in pairs.rows for caption in row.captions])
    cosine, kind = text @ text.T, torch.tensor([pairs.domains.index(name) for name in pairs.domains])
    own, label = owner[:, None] == owner, pairs.labels[owner]
    twin, like = label[:, None] == label, kind[label][:, None] == kind[label]
    parts = {
        "captions of one image": own & ~torch.eye(len(owner), dtype=torch.bool),
        "captions of other images of the class": twin & ~own,
        "captions of other classes of that kind": like & ~twin,
        "captions of other kinds of images": ~like,
    }
    return {name: float(cosine[part].mean()) for name, part in parts.items()}
