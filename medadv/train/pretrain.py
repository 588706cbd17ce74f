"""Contrastive pre-training: images and captions that belong together come to lie together."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv.models.vlm import VLM
from medadv.types import Batch


def info_nce(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Return the symmetric contrastive loss of each pair.

    Shapes   image (B, D), text (B, D), unit length; result (B,).
    Units    nats; ln B where nothing is known.
    Returns  half the row plus half the column cross-entropy, one value a pair.
    Raises   ValueError if the two have different shapes.
    Source   Radford et al. 2021, arXiv 2103.00020, figure 3.
    """
    if image.shape != text.shape:
        raise ValueError(f"The 'text' parameter of info_nce must be {tuple(image.shape)}; got {tuple(text.shape)}.")
    logits = scale * image @ text.T
    truth = torch.arange(len(image), device=image.device)
    rows = F.cross_entropy(logits, truth, reduction="none")
    return 0.5 * (rows + F.cross_entropy(logits.T, truth, reduction="none"))


def contrastive(model: VLM, batch: Batch) -> dict[str, Tensor]:
    """Take one step of contrastive pre-training, for `medadv.train.loop.fit`.

    Shapes   batch of B images with B captions.
    Units    loss in nats.
    Returns  loss, and the share of images whose own caption is nearest.
    Raises   ValueError if the batch has no captions.
    Source   Radford et al. 2021, arXiv 2103.00020; the scale is kept below 100 as there.
    """
    if batch.text is None or not all(batch.text):
        raise ValueError("The 'batch' parameter of contrastive must hold captions; some are missing. Check the data.")
    image, text = model.encode_image(batch.image), model.encode_text(batch.text)
    scale = model.scale.clamp(max=100)
    hit = (image @ text.T).argmax(1) == torch.arange(len(image), device=image.device)
    loss = info_nce(image, text, scale).mean()
    return {"loss": loss, "top1": hit.float().mean(), "chance": torch.tensor(math.log(len(image)), dtype=torch.float32)}
