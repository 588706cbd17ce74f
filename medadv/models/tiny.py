"""The tiny Med-VLM: an open_clip CLIP small enough for two CPU cores, trained on phantoms, shipped with the package.

The folder `weights/tiny` is in open_clip's local-dir layout; `provenance.json` says how the weights came to be and
`data_scripts/train_tiny.py` remakes them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.model import CLIP

from medadv.models._files import fill, read_weights
from medadv.models.vlm import VLM

FOLDER = Path(__file__).parent / "weights" / "tiny"
VOCABULARY = "bpe_vocab.txt.gz"
WEIGHTS = "open_clip_model.safetensors"

# Chosen by measuring (benchmarks/towers.py): milliseconds for 128 images on two cores, forward / with the gradient to
# the pixels. This ResNet, open_clip's own with attention pooling: 67 / 127; ViT patch 8 width 128: 119 / 312;
# edgenext_xx_small: 54 / 117.
# Its maps are 16, 16, 8, 4 and 2 wide. It has BatchNorm: attack it in eval mode, tune it with norm=False.
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 2, 2, 1], "width": 16, "head_width": 32},
        "text_cfg": {"context_length": 40, "vocab_size": 1024, "width": 128, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def tokenizer(folder: Path = FOLDER) -> SimpleTokenizer:
    """Return open_clip's own tokenizer over the small vocabulary of the phantom captions.

    Shapes   none.
    Units    none.
    Returns  a function of a list of str that gives tokens (N, L).
    Raises   FileNotFoundError if the vocabulary is not there.
    Source   byte-pair encoding, Sennrich et al. 2016, arXiv 1508.07909, as in open_clip.
    """
    path = folder / VOCABULARY
    if not path.is_file():
        raise FileNotFoundError(
            f"The vocabulary {path} is missing. Reinstall medadv, or run data_scripts/train_tiny.py."
        )
    return SimpleTokenizer(str(path), context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"])


def new_tiny(*, seed: int = 0, folder: Path = FOLDER) -> VLM:
    """Return the tiny architecture with random weights.

    Shapes   images (B, 3, 64, 64), embeddings (B, 128), tokens (N, 40).
    Units    none.
    Returns  VLM; the global random stream is left as it was.
    Raises   FileNotFoundError if the vocabulary is not there.
    Source   open_clip's CLIP; the scale starts at 1 / 0.07 as in Radford et al. 2021.
    """
    cfg = CONFIG["model_cfg"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(cfg["embed_dim"], cfg["vision_cfg"], cfg["text_cfg"])
    vlm = VLM(model, tokenizer(folder), name="tiny", preprocess={"size": 64, **CONFIG["preprocess_cfg"]})
    vlm.config, vlm.tokenizer_files = CONFIG, [folder / VOCABULARY]
    return vlm


def load_tiny(folder: Path = FOLDER) -> VLM:
    """Load the shipped tiny Med-VLM and check it against its provenance.

    Shapes   images (B, 3, 64, 64), embeddings (B, 128), tokens (N, 40).
    Units    none.
    Returns  VLM in eval mode.
    Raises   ValueError if the weights are not the ones the provenance file names.
    Source   data_scripts/train_tiny.py.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"The weights {path} are missing. Reinstall medadv, or run data_scripts/train_tiny.py.")
    known = provenance(folder)["sha256"]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != known:
        raise ValueError(
            f"The weights {path} have sha256 {found[:12]}..., the provenance file says {known[:12]}... "
            "Reinstall medadv, or run data_scripts/train_tiny.py."
        )
    vlm = new_tiny(folder=folder)
    fill(vlm.model, read_weights(path), where=str(path))
    return vlm.eval()


def provenance(folder: Path = FOLDER) -> dict[str, Any]:
    """Read where the weights come from: command, seed, versions, data, metrics, sha256.

    Shapes   none.
    Units    metrics in [0, 1].
    Returns  dict.
    Raises   FileNotFoundError if the file is not there.
    Source   data_scripts/train_tiny.py.
    """
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
