"""From what people have (class folders, one-hot tables, HAM10000 and ISIC csv) to a folder that read_tidy opens."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pooch import file_hash
from tqdm.auto import tqdm

from medadv._images import scale_of
from medadv.data._layouts import Item, from_folders, from_table
from medadv.data._pictures import open_picture, pixels_of
from medadv.data._settings import declare
from medadv.data._table import shown
from medadv.data.sources import phrases as known_phrases
from medadv.data.tidy_write import write_tidy

__all__ = ["convert"]

log = logging.getLogger("medadv")

_SPLITS = ("train", "val", "test")


def convert(
    source: str | Path,
    out: str | Path,
    *,
    table: str | Path | None = None,
    label: str | Sequence[str] | None = None,
    image: str | None = None,
    patient: str | None = None,
    rest: str | None = None,
    phrases: Mapping[str, str] | None = None,
    caption: str | None = None,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    window: tuple[float, float] | None = None,
    bits: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a folder with metadata.csv from class folders (class/x.png, split/class/x.png) or from a table.

    Shapes   none.
    Units    shares of train, val and test, which sum to 1.
    Returns  the new folder: images copied unchanged, metadata.csv, classes.json, SOURCE.md, MD5SUMS (and folder.json
             for `window` or `bits`). The columns of HAM10000 and of the ISIC challenges are known; of another table
             `label` names the column of the class, or the one-hot columns, `image` the column of the file (with or
             without ending), `patient` the column that binds images together; `rest` is the class of a row without
             any 1. Where nothing names splits, patients (else lesions) are dealt by the seed, each class in itself;
             files of the same content are dealt together. `phrases` maps classes to words for classes.json,
             `caption` is a sentence with {} for them.
    Raises   ValueError for a layout or columns that are not understood, a row with several classes, a missing or
             undecodable image, one content under two classes, deep images without a scale, an `out` that is not
             empty. Nothing is left behind then.
    Source   ours; the format is described in data_scripts/README.md.
    """
    source, out = Path(source), Path(out)
    _check(source, out, shares, seed, caption)
    scale = scale_of(window, bits, "convert")
    table = _table_of(source, table)
    if table is None:
        items = from_folders(source)
    else:
        root = source if source.is_dir() else source.parent
        items = from_table(root, Path(table), label=label, image=image, patient=patient, rest=rest)
    _check_items(items, scale, progress)
    _bind_twins(items, progress)
    if not any(item.split for item in items):
        _deal(items, tuple(shares), seed)
    words = _words(items, phrases)
    sentence = caption or (items[0].sentence if items else "An image of {}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        rows = [_copy(item, work, words, sentence) for item in tqdm(items, desc="copy", disable=not progress)]
        if window is not None:
            declare(work, window=list(window))
        elif bits is not None:
            declare(work, bits=bits)
        told = _source_text(source, table, items, shares, seed)
        write_tidy(work, rows, classes=words, source=told, progress=progress)
        work.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        if out.exists():
            out.rmdir()
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return out


def _check(source: Path, out: Path, shares: Sequence[float], seed: int, caption: str | None) -> None:
    if not source.exists():
        raise ValueError(
            f"The 'source' parameter of convert must be a folder of images, or a csv table; got {source}, which does "
            "not exist. Look at the path."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"The 'out' parameter of convert must be a new or empty folder; got {out}. Choose another.")
    if out.resolve().is_relative_to(source.resolve()) and source.is_dir():
        raise ValueError(f"The 'out' parameter of convert must not lie in the source; got {out}. Choose another.")
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"The 'shares' parameter of convert must be three shares that sum to 1; got {list(shares)[:5]}. "
            "Give train, val, test, such as 0.7, 0.1, 0.2."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"The 'seed' parameter of convert must be a whole number from 0; got {seed}. Choose another.")
    if caption is not None and "{}" not in caption:
        raise ValueError(
            f"The 'caption' parameter of convert must hold {{}} for the class; got {shown(caption)}. "
            'Write, for example, "A dermoscopic image of {}."'
        )


def _table_of(source: Path, table: str | Path | None) -> Path | None:
    """Find the table: the given one, the source itself, or the only csv file of the source; None for class folders."""
    if table is not None:
        if not Path(table).is_file():
            raise ValueError(f"The 'table' parameter of convert must be a csv file; got {table}. Look at the path.")
        return Path(table)
    if source.is_file():
        return source
    found = sorted(path for path in source.iterdir() if path.suffix.lower() == ".csv")
    if len(found) > 1:
        raise ValueError(
            f"{source} holds several tables: {', '.join(path.name for path in found[:6])}. Name one with table= "
            "(--table)."
        )
    return found[0] if found else None


def _check_items(items: list[Item], scale: tuple[float, float] | None, progress: bool) -> None:
    """Decode every image once, before anything is written."""
    for item in tqdm(items, desc="check", disable=not progress, leave=False):
        pixels_of(item.path, open_picture(item.path, scale=scale), size=8, scale=scale)


def _bind_twins(items: list[Item], progress: bool) -> None:
    """Give files of the same content one number; refuse one content under two classes."""
    first: dict[str, Item] = {}
    for item in tqdm(items, desc="md5", disable=not progress, leave=False):
        twin = first.setdefault(file_hash(item.path, alg="md5"), item)
        if twin is item:
            continue
        if twin.label != item.label:
            raise ValueError(
                f"The files {twin.path} and {item.path} are the same picture under two classes, {shown(twin.label)} "
                f"and {shown(item.label)}. Take out one of them."
            )
        twin.twin = twin.twin or f"{1 + len({i.twin for i in items if i.twin})}"
        item.twin = twin.twin


def _deal(items: list[Item], shares: tuple[float, ...], seed: int) -> None:
    """Deal patients to train, val and test, those of each class in themselves, so that every split has all classes."""
    parts = _together(items)
    rng = np.random.default_rng(seed)
    of_class: dict[str, list[list[Item]]] = {}
    for part in parts:
        labels = sorted({item.label for item in part}, key=lambda name: (-sum(i.label == name for i in part), name))
        of_class.setdefault(labels[0], []).append(part)
    for name in sorted(of_class):
        several = [of_class[name][k] for k in rng.permutation(len(of_class[name]))]
        total, done = sum(map(len, several)), dict.fromkeys(_SPLITS, 0)
        wanted = {split: share * total for split, share in zip(_SPLITS, shares, strict=True)}
        for part in several:
            # A split without any image of the class comes first, so that a rare class is in all of them.
            split = max(_SPLITS, key=lambda s: (wanted[s] > 0 and not done[s], wanted[s] - done[s]))
            done[split] += len(part)
            for item in part:
                item.split = split


def _together(items: list[Item]) -> list[list[Item]]:
    """Return the images that may not be parted: one patient, or one content under several names."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[str, str], int] = {}
    edges = [(i, i) for i in range(len(items))]
    for i, item in enumerate(items):
        for key in (("patient", item.patient), ("twin", item.twin)):
            if key[1]:
                edges.append((i, len(items) + nodes.setdefault(key, len(nodes))))
    start, end = np.array(edges).T
    total = len(items) + len(nodes)
    number = connected_components(coo_matrix((np.ones(len(edges)), (start, end)), shape=(total, total)), directed=False)
    parts: dict[int, list[Item]] = {}
    for item, k in zip(items, number[1][: len(items)].tolist(), strict=True):
        parts.setdefault(k, []).append(item)
    return list(parts.values())


def _words(items: list[Item], phrases: Mapping[str, str] | None) -> dict[str, str]:
    names = list(dict.fromkeys(sorted(item.label for item in items)))
    unknown = sorted(set(phrases or {}) - set(names))
    if unknown:
        raise ValueError(
            f"The 'phrases' parameter of convert must name classes of the data; got {shown(unknown[0])}. "
            f"They are {', '.join(map(shown, names[:12]))}."
        )
    own = {item.label: item.words for item in items if item.words}
    found = dict(zip(names, known_phrases(names), strict=True))
    return {name: (phrases or {}).get(name) or own.get(name) or found[name] for name in names}


def _copy(item: Item, work: Path, words: dict[str, str], sentence: str) -> dict[str, Any]:
    target = work / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(item.path, target)
    return {
        "image": item.name,
        "split": item.split,
        "label": item.label,
        "label_id": list(words).index(item.label),
        "patient_id": item.patient,
        "dup_group": item.twin,
        **item.more,
        "caption": sentence.replace("{}", words[item.label]),
    }


def _source_text(source: Path, table: Path | None, items: list[Item], shares: Sequence[float], seed: int) -> str:
    bound = sum(bool(item.patient) for item in items)
    if not bound:
        log.warning(
            "Nothing names the patients, so images of one patient may be in two splits. Name their column with "
            "patient= (--patient)."
        )
    return (
        f"# {source.name}\n\nMade by `medadv data convert` from {source.name}"
        f"{f' and {table.name}' if table is not None and table != source else ''}: {len(items)} images, "
        f"{len({item.patient for item in items if item.patient})} patients or lesions ({len(items) - bound} images "
        f"name none). Splits that the source does not name are dealt by the seed {seed} in the shares "
        f"{', '.join(f'{share:g}' for share in shares)}.\n\nAdd licence, citation and known traps here, then run "
        "`medadv data FOLDER --write-checksums`."
    )
