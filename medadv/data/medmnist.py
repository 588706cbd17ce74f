"""MedMNIST v2 and MedMNIST+: the official npz files as image-text pairs, verified before they are opened."""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medadv._registry import nearest
from medadv.data.fetch import fetch, verify
from medadv.data.pairs import Pairs, Row
from medadv.data.sources import Source

SIZES = (28, 64, 128, 224)

_CITATION = "J. Yang et al., MedMNIST v2: a large-scale lightweight benchmark, Scientific Data 2023, arXiv 2110.14795"

# What each set shows, for captions such as "A histology image of lymphocytes."
_VIEWS = {
    "pathmnist": "a colorectal histology image of {}",
    "chestmnist": "a chest radiograph with {}",
    "dermamnist": "a dermoscopic image of {}",
    "octmnist": "a retinal OCT scan, {}",
    "pneumoniamnist": "a paediatric chest radiograph, {}",
    "retinamnist": "a fundus photograph with {}",
    "breastmnist": "a breast ultrasound image, {}",
    "bloodmnist": "a microscope image of a blood cell, {}",
    "tissuemnist": "a microscope image of kidney cortex, {}",
    "organamnist": "an axial CT slice of the {}",
    "organcmnist": "a coronal CT slice of the {}",
    "organsmnist": "a sagittal CT slice of the {}",
}

_RETINA = tuple(
    f"{grade} diabetic retinopathy" for grade in ("no", "mild", "moderate", "severe non-proliferative", "proliferative")
)


def names() -> tuple[str, ...]:
    """Return the names of the twelve flat sets.

    Shapes   none.
    Units    none.
    Returns  a tuple of str.
    Raises   nothing.
    Source   medmnist.INFO.
    """
    return tuple(_VIEWS)


def medmnist_source(name: str, *, size: int = 28) -> Source:
    """Return address, md5 and licence of one set, as the medmnist package publishes them.

    Shapes   none.
    Units    size in pixels: 28, 64, 128 or 224.
    Returns  a Source.
    Raises   ValueError for an unknown name or size; ImportError without the medmnist package.
    Source   medmnist.INFO.
    """
    facts = _facts(name)
    if size not in SIZES:
        raise ValueError(f"The 'size' parameter of read_medmnist must be 28, 64, 128 or 224; got {size}.")
    end = "" if size == 28 else f"_{size}"
    return Source(
        name=name,
        url=facts["url" + end],
        file=f"{name}{end}.npz",
        licence=facts["license"],
        citation=_CITATION,
        checksum="md5:" + facts["MD5" + end],
        checked=True,
        note=f"licence {facts['license']}",
    )


def read_medmnist(
    name: str,
    *,
    size: int = 28,
    split: str = "test",
    root: str | Path | None = None,
    download: bool = False,
    finding: str | None = None,
) -> Pairs:
    """Read one split of a MedMNIST set as image-text pairs; the file's md5 is verified first.

    Shapes   images (3, size, size); grey is repeated.
    Units    pixels in [0, 1]; size 28, 64, 128 or 224.
    Returns  Pairs whose name holds the licence. Of the multi-label chestmnist one `finding` against the rest.
    Raises   FileNotFoundError if the file is not in `root` and download is False; ValueError for an unknown
             name, size, split or finding, a wrong md5, or a file that is not what it should be; OSError if
             the download fails.
    Source   Yang et al. 2023, arXiv 2110.14795; names, addresses and md5 from the medmnist package.
             allow_pickle is off.
    """
    source = medmnist_source(name, size=size)
    if split not in ("train", "val", "test"):
        raise ValueError(f"The 'split' parameter of read_medmnist must be train, val or test; got {split!r}.")
    folder = Path(root) if root is not None else Path(os.environ.get("MEDADV_DATA", "")) / "medmnist"
    path = folder / source.file
    if download:
        fetch(source.url, path, checksum=source.checksum)
    elif not path.is_file():
        raise FileNotFoundError(
            f"The file {path} does not exist. Pass download=True, or put there what {source.url} gives; "
            f"licence {source.licence}."
        )
    else:
        verify(path, checksum=source.checksum)
    images, labels = _arrays(path, split, size)
    classes, numbers = _classes(name, labels, finding)
    view = _VIEWS[name]
    captions = [_sentence(view.format(text)) for text in classes]
    rows = tuple(
        Row(label=k, captions=(captions[k],), patient=f"{split}-{i}", split=split, name=f"{name}-{split}-{i}")
        for i, k in enumerate(numbers)
    )
    return Pairs(
        name=f"{name}_{size}/{split} ({source.licence})",
        classes=classes,
        rows=rows,
        load=partial(_load, images),
        prompts=tuple(view.format(text) for text in classes),
    )


def _facts(name) -> dict[str, Any]:
    try:
        from medmnist import INFO
    except ImportError as error:
        raise ImportError("MedMNIST needs the package medmnist. Install it: pip install medmnist") from error
    if name not in _VIEWS:
        near = nearest(name, _VIEWS) or list(_VIEWS)
        raise ValueError(
            f"The 'name' parameter of read_medmnist must be a flat MedMNIST set; got {name!r}. Did you mean "
            f"{', '.join(near)}?"
        )
    return INFO[name]


def _arrays(path, split, size) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file[f"{split}_images"], file[f"{split}_labels"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as a MedMNIST file ({error}). Delete it and fetch it again."
        ) from error
    good = images.dtype == np.uint8 and images.shape[1:3] == (size, size) and images.shape[3:] in ((), (3,))
    if not good or labels.shape[:1] != images.shape[:1] or labels.ndim != 2:
        raise ValueError(
            f"{path} must hold uint8 images (N, {size}, {size}[, 3]) and labels (N, L); got {images.dtype} "
            f"{images.shape}."
        )
    return images, labels


def _classes(name, labels, finding) -> tuple[tuple[str, ...], list[int]]:
    facts = _facts(name)
    texts = tuple(facts["label"][str(k)] for k in range(len(facts["label"])))
    if "multi-label" in facts["task"]:
        if finding not in texts:
            raise ValueError(
                f"The 'finding' parameter of read_medmnist must be one of {', '.join(texts)} for {name}; got "
                f"{finding!r}."
            )
        return (f"no {finding}", str(finding)), [int(k) for k in labels[:, texts.index(finding)]]
    if finding is not None:
        raise ValueError(f"The 'finding' parameter of read_medmnist must be None for {name}, which is not multi-label.")
    numbers = [int(k) for k in labels[:, 0]]
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(texts):
        raise ValueError(f"{name} must have labels from 0 to {len(texts) - 1}; got {min(numbers)} to {max(numbers)}.")
    return _RETINA if name == "retinamnist" else texts, numbers


def _sentence(text) -> str:
    return text[0].upper() + text[1:] + "."


def _load(images, i) -> tuple[Tensor, None]:
    image = torch.from_numpy(np.array(images[i]))
    image = image.expand(3, -1, -1) if image.ndim == 2 else image.permute(2, 0, 1)
    return image.contiguous().float().div(255), None
