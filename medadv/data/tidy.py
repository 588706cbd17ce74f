"""Real images as image-text pairs: a folder with metadata.csv, one row for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from medadv._images import centre, square
from medadv.data import _table
from medadv.data._classes import class_numbers, warn_of_codes
from medadv.data._masks import inside_of
from medadv.data._pictures import open_picture, pixels_of
from medadv.data._settings import Settings, read_settings
from medadv.data.pairs import Pairs, Row
from medadv.data.tidy_write import verify_tidy, write_checksums, write_tidy

__all__ = ["cache", "grouped_folds", "read_tidy", "verify_tidy", "write_checksums", "write_tidy"]


def read_tidy(
    folder: str | Path,
    *,
    size: int | None = None,
    label: str = "label",
    group: str = "group",
    caption: str = "caption",
    split: str | None = None,
    window: tuple[float, float] | None = None,
    bits: int | None = None,
    mask: str | Mapping[str, object] | None = None,
    uncertain: str | None = None,
    blank: str | None = None,
) -> Pairs:
    """Read a folder of images with metadata.csv as image-text pairs; images are decoded when asked for.

    Shapes   images (3, size, size), or as they are in the file where size is None; masks (1, ...) the same.
    Units    pixels in [0, 1]; masks 0 or 1. Pictures deeper than 8 bits need one scale for the whole folder:
             `window` (the values that become 0 and 1) or `bits`, here or in folder.json; 8-bit ones do not.
    Returns  Pairs. `label` may be any column; class numbers follow classes.json, label_id or the sorted
             values. `group` names the column behind Batch.group (age_group is derived from age). Captions are
             `caption`, then prompt_shape and prompt_location where they do not give the label away. Other
             columns of few values become attributes. Cells such as NaN are unknown, 1.0 is 1, and spellings that
             differ in case or blanks are one (a warning says so). In a column of 1, 0, -1 and blank `uncertain`
             and `blank` choose what -1 and blank mean: unknown, positive or negative. `mask` names the structure
             that is inside, of those in folder.json, or maps names to values or colours.
    Raises   FileNotFoundError for a missing folder, table or image; ValueError for a missing column, a path
             that leaves the folder, an empty or undecodable image (when loaded), a deep image without a scale, a
             mask whose inside is not known, a label out of range, contradictory labels, an image listed twice, a
             patient in two splits, a split without rows.
    Source   ours; the format is described in data_scripts/README.md.
    """
    folder = Path(folder)
    if size is not None and size < 1:
        raise ValueError(
            f"The 'size' parameter of read_tidy must be a positive number of pixels; got {size}. Leave it out for "
            "images as they are."
        )
    raw = _table.read_table(folder)
    settings = read_settings(folder, window=window, bits=bits, mask=mask, uncertain=uncertain, blank=blank)
    rows = _table.cleaned(raw)
    _table.check_rows(folder, rows)
    _table.add_age_group(rows)
    _table.need_column(rows, label, "label")
    if group != "group":
        _table.need_column(rows, group, "group")
    if caption != "caption":
        _table.need_column(rows, caption, "caption")
    classes, prompts, numbers = class_numbers(
        folder,
        rows,
        label,
        uncertain=settings.uncertain,
        blank=settings.blank,
        asked=uncertain is not None or blank is not None,
    )
    warn_of_codes(label, prompts)
    texts = [name for name in (caption, *_descriptions(rows)) if name in rows[0]]
    attributes = _table.attribute_columns(rows, group)
    if split is not None:
        known = sorted({row.get("split", "") for row in rows} - {""})
        if split not in known:
            raise ValueError(
                f"The 'split' parameter of read_tidy must be one of {known[:12]}; got {split!r}. Leave it out for all "
                "rows."
            )
    kept = [i for i, row in enumerate(rows) if split is None or row["split"] == split]
    made = tuple(_row(rows[i], numbers[i], texts, attributes) for i in kept)
    images = tuple(str(folder / rows[i]["image"]) for i in kept)
    masks = tuple(str(folder / rows[i]["mask"]) if rows[i].get("mask") else "" for i in kept)
    return Pairs(
        name=folder.resolve().name + (f"/{split}" if split else ""),
        classes=classes,
        rows=made,
        load=partial(_load, images, masks, size, settings),
        prompts=prompts,
        group_by=group if any(group in row.attributes for row in made) else "",
    )


def cache(pairs: Pairs, *, size: int | None = None, progress: bool = True) -> Pairs:
    """Decode every image once and keep it in memory, as training walks over the data many times.

    Shapes   images (3, size, size), or as `pairs` loads them where size is None; they must all be of one
             size.
    Units    kept as uint8, so [0, 1] in steps of 1/255.
    Returns  Pairs with the same rows; 256 px cost 0.2 MB an image, 64 px 12 kB.
    Raises   ValueError if the sizes differ; whatever `load` raises.
    Source   ours.
    """
    images: Tensor | None = None
    masks: dict[int, Tensor] = {}
    for i in tqdm(range(len(pairs)), desc=f"read {pairs.name}", disable=not progress, leave=False):
        image, mask = pairs.load(i)
        if size is not None and image.shape[1:] != (size, size):
            image = square(image, size)
            if mask is not None:
                mask = _nearest(mask, size)
        if images is None:
            images = torch.empty((len(pairs), *image.shape), dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"The images of {pairs.name} must be of one size to be cached; got {tuple(image.shape[1:])} and "
                f"{tuple(images.shape[2:])}. Pass size=."
            )
        images[i] = image.mul(255).round().to(torch.uint8)
        if mask is not None:
            masks[i] = mask.to(torch.bool)
    return replace(pairs, load=partial(_load_cached, images, masks))


def grouped_folds(pairs: Pairs, *, k: int = 5, seed: int = 0) -> Tensor:
    """Deal the images into k folds so that no patient, and no pair of near-duplicates, is in two of them.

    Shapes   result (B,) int64.
    Units    fold numbers 0 to k - 1.
    Returns  the fold of every row; classes are spread evenly where every class has at least k images.
    Raises   ValueError if there are fewer than k patients.
    Source   scikit-learn's StratifiedGroupKFold and GroupKFold.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    belongs = _together(pairs)
    count = len(np.unique(belongs))
    if not 2 <= k <= count:
        raise ValueError(
            f"The 'k' parameter of grouped_folds must be from 2 to the number of patients, {count}; got {k}."
        )
    labels = pairs.labels.numpy()
    ways = [GroupKFold(k, shuffle=True, random_state=seed)]
    if np.unique(labels, return_counts=True)[1].min() >= k:
        ways.insert(0, StratifiedGroupKFold(k, shuffle=True, random_state=seed))
    fold = np.empty(len(pairs), dtype=np.int64)
    for way in ways:
        for number, (_, rows) in enumerate(way.split(labels, labels, belongs)):
            fold[rows] = number
        if len(np.unique(fold)) == k:  # few patients may leave a stratified fold empty
            break
    return torch.from_numpy(fold)


def _together(pairs) -> np.ndarray:
    """Number the connected parts of the graph image - patient - near-duplicate group."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[str, str], int] = {}
    edges: list[tuple[int, int]] = []
    for i, row in enumerate(pairs.rows):
        keys = [("patient", row.patient or f"row {i}")]
        if row.attributes.get("dup_group"):
            keys.append(("duplicate", row.attributes["dup_group"]))
        edges.extend((i, len(pairs) + nodes.setdefault(key, len(nodes))) for key in keys)
    start, end = np.array(edges).T
    total = len(pairs) + len(nodes)
    graph = coo_matrix((np.ones(len(edges)), (start, end)), shape=(total, total))
    return connected_components(graph, directed=False)[1][: len(pairs)]


def _descriptions(rows) -> list[str]:
    """Choose the description columns in which no text names the label of its own image."""
    found = []
    for name in ("prompt_shape", "prompt_location"):
        pairs = ((row.get(name, "").lower(), row.get("label", "").replace("_", " ").lower()) for row in rows)
        if name in rows[0] and not any(label and label in text for text, label in pairs):
            found.append(name)
    return found


def _row(row, number, texts, attributes) -> Row:
    return Row(
        label=number,
        captions=tuple(dict.fromkeys(row[name] for name in texts if row[name])),
        patient=row.get("patient_id") or row["image"],
        attributes={name: row[name] for name in attributes if row[name]},
        split=row.get("split", ""),
        name=row["image"],
    )


def _load(images, masks, size, settings: Settings, i) -> tuple[Tensor, Tensor | None]:
    picture = open_picture(images[i], scale=settings.scale)
    image = pixels_of(images[i], picture, size=size, scale=settings.scale)
    if not masks[i]:
        return image, None
    mask = open_picture(masks[i])
    wide, high = picture.size
    if abs(mask.size[0] * high - mask.size[1] * wide) > 0.02 * mask.size[0] * high:
        raise ValueError(
            f"The mask {masks[i]} has the size {mask.size}, which does not fit its image of {picture.size}. Save it in "
            "the size of the image."
        )
    full = Image.fromarray(inside_of(mask, masks[i], settings.mask).astype(np.uint8))
    inside = torch.from_numpy(np.array(full.resize(picture.size, Image.Resampling.NEAREST))).float()[None]
    return image, inside if size is None else _nearest(inside, size)


def _nearest(mask, size) -> Tensor:
    """Bring a mask (1, H, W) to the geometry of to_pixels, without new values: only what is kept is read."""
    high, wide = mask.shape[1:]
    new_wide, new_high, left, top = centre(wide, high, size)
    rows, columns = _kept(high, new_high, top, size), _kept(wide, new_wide, left, size)
    return mask[:, rows][:, :, columns]


def _kept(old: int, new: int, start: int, size: int) -> Tensor:
    """Number the pixels that interpolation of the mode nearest-exact takes."""
    step = np.float32(old) / np.float32(new)
    place = np.floor((np.arange(start, start + size).astype(np.float32) + np.float32(0.5)) * step)
    return torch.from_numpy(place.astype(np.int64).clip(0, old - 1))


def _load_cached(images, masks, i) -> tuple[Tensor, Tensor | None]:
    mask = masks.get(i)
    return images[i].float().div(255), None if mask is None else mask.float()
