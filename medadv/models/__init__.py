"""Image-text models in pixel space: `load(name)` and the heads on top."""

from __future__ import annotations

import logging

import torch

from medadv._device import dtype_of, pick
from medadv.models._folder import from_folder, save_folder
from medadv.models._head_file import load_head, save_head
from medadv.models._hf import from_hf_clip
from medadv.models._preprocess import unusual
from medadv.models.encode import image_features, text_features
from medadv.models.head import TEMPLATES, EmbeddingHead, Head, LinearProbe, ZeroShot, as_head, fit_probe
from medadv.models.vlm import VLM
from medadv.models.zoo import CARDS, Card, from_name, names

__all__ = [
    "CARDS",
    "TEMPLATES",
    "VLM",
    "Card",
    "EmbeddingHead",
    "Head",
    "LinearProbe",
    "ZeroShot",
    "as_head",
    "fit_probe",
    "from_folder",
    "from_hf_clip",
    "image_features",
    "load",
    "load_head",
    "names",
    "save_folder",
    "save_head",
    "text_features",
]

_log = logging.getLogger(__name__)


def load(name: str = "tiny", *, device: str | torch.device = "auto", dtype: str | torch.dtype | None = None) -> VLM:
    """Load a model: the one that ships, a known one, or any open_clip or HF CLIP from a folder or the hub.

    Shapes   none.
    Units    none.
    Returns  a VLM in evaluation mode; `dtype` (bfloat16, float16) is the autocast format of the towers.
    Raises   ValueError for an unknown name, device or format, and for files that are damaged or do not fit;
             FileNotFoundError or OSError for files that are missing or cannot be fetched.
    Source   names are in `CARDS`; else "hf-hub:org/repo" or "local-dir:FOLDER", as in open_clip.
    """
    place, number = pick(device), dtype_of(dtype)
    vlm = from_name(name)
    vlm.name, vlm.dtype = name, number
    if way := unusual(vlm.preprocess):
        _log.warning(
            "%s wants its pictures %s, as vlm.pixels does it; a data set opened at the model's size has them resized "
            "with the filter bicubic and cropped",
            name,
            way,
        )
    return vlm.to(place).eval()
