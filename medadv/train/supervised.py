"""Two steps for labelled images: a classifier with balanced classes, and contrastive learning where captions
repeat."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._labels import as_labels, as_logits
from medadv.models.vlm import VLM
from medadv.train.loop import Step
from medadv.types import Batch


def same_text_contrastive(model: VLM, batch: Batch) -> dict[str, Tensor]:
    """Take a contrastive step in which all pairs that carry the same caption belong together.

    Shapes   batch of B images with B captions.
    Units    loss in nats.
    Returns  loss. With class captions most of a batch are twins; plain InfoNCE would push them apart.
    Raises   ValueError if the batch has no captions.
    Source   UniCL, Yang et al. 2022, arXiv 2204.03610, eq. 3; here two pairs belong together if their texts
             are equal.
    """
    if batch.text is None or not all(batch.text):
        raise ValueError(
            "The 'batch' parameter of same_text_contrastive must hold captions; some are missing. Check the data."
        )
    unique = sorted(set(batch.text))
    number = torch.tensor([unique.index(text) for text in batch.text], device=model.device)
    logits = model.scale.clamp(max=100) * model.encode_image(batch.image) @ model.encode_text(unique).T
    to_text = F.cross_entropy(logits, number)
    mine = F.one_hot(number, len(unique)).T.float()  # (texts, images)
    to_image = -(logits.T.log_softmax(1) * mine).sum(1) / mine.sum(1)
    return {"loss": 0.5 * (to_text + to_image.mean())}


def balanced_step(label: Tensor, classes: int, *, smoothing: float = 0.05) -> Step:
    """Make the step that trains a classifier in which rare classes weigh as much as common ones.

    Shapes   label (N,) of the whole training set, -1 for unknown; the model maps pixels to logits (B, K).
    Units    smoothing is the share of the label spread over all classes.
    Returns  a step for `medadv.train.loop.fit`; images without a label do not count.
    Raises   ValueError for labels that are no integers.
    Source   cross-entropy with inverse class frequencies; label smoothing of Szegedy et al. 2016, arXiv
             1512.00567.
    """
    label = as_labels(label, None, "balanced_step").cpu()
    count = torch.bincount(label[label >= 0], minlength=classes).clamp(min=1).float()
    weight = (1 / count) / (1 / count).mean()

    def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert batch.label is not None
        shares = weight.to(batch.image.device)
        logits = as_logits(model(batch.image), len(batch), "balanced_step")
        truth = as_labels(batch.label, len(batch), "balanced_step").to(logits.device)
        loss = F.cross_entropy(logits, truth, weight=shares, label_smoothing=smoothing, ignore_index=-1)
        return {"loss": loss}

    return step
