"""One picture and a few sentences: what does the model think?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from medadv._images import check_pixels
from medadv._labels import check_scores
from medadv._quiet import quiet
from medadv.evaluate.intervals import Estimate
from medadv.evaluate.report import Report, provenance
from medadv.models.head import TEMPLATES, ZeroShot
from medadv.models.vlm import VLM


def ask(vlm: VLM, picture: str | Path, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES) -> Report:
    """Ask a model about one picture of one's own.

    Shapes   an image file, or a .npy array (H, W), (H, W, 3), pixels (3, H, W) or one channel; K phrases such as
             "a dermoscopic image of a melanoma".
    Units    the values are the softmax of the zero-shot logits: shares of these K phrases, no probabilities
             of disease.
    Returns  Report with one row for each phrase, the likeliest first; a single picture has no interval.
    Raises   ValueError if the file is no picture, holds values that are no pixels, or the model returns NaN.
    Source   Radford et al. 2021, section 3.1.
    """
    head = ZeroShot.from_prompts(vlm, classes, templates=templates)
    with quiet(head), torch.inference_mode():
        logits = head(_read_picture(vlm, Path(picture)))
    check_scores(logits, "The logits that 'vlm' gives in ask")
    share = logits[0].softmax(0).tolist()
    order = sorted(range(len(share)), key=lambda k: -share[k])
    rows = [{"metric": "share", "class": classes[k], "estimate": Estimate(share[k], np.nan, np.nan, 1)} for k in order]
    settings = {"task": "ask", "model": vlm.name, "data": Path(picture).name, "templates": list(templates)}
    return Report(tuple(rows), settings, provenance(device=vlm.device))


def _read_picture(vlm: VLM, path: Path) -> Tensor:
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"The file {path} is no readable array of numbers ({error}). Save it with numpy.save."
            ) from error
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):  # one channel: a grey picture
            array = array[0] if array.shape[0] == 1 else array[..., 0]
        if array.ndim == 3 and array.shape[-1] not in (3, 4):  # channels first: pixels as the package has them
            return vlm.pixels([check_pixels(torch.from_numpy(array)[None], str(path))[0]])
        return vlm.pixels([array])
    try:
        with Image.open(path) as opened:
            opened.load()
            return vlm.pixels([opened])
    except (UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"The file {path} is no picture that can be read. Give a PNG, JPEG, TIFF or .npy file."
        ) from error
