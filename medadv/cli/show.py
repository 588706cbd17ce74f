"""What the command line prints: reports, models and data sets as tables."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.table import Table

from medadv._images import deep
from medadv.data._settings import read_settings
from medadv.data._table import read_table
from medadv.data.dicom import dicom_window, is_dicom

if TYPE_CHECKING:
    from medadv.data.pairs import Pairs
    from medadv.reports.report import Report


def show_report(report: Report, *, console: Console) -> None:
    """Print the rows of a report; what is counted by class goes into a second table, one line a class.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   nothing.
    Source   ours.
    """
    whole = [row for row in report.rows if row.get("class", "all") == "all"]
    names = [name for name in (whole or report.rows)[0] if name not in ("estimate", "class")]
    table = Table(*names, "value", title=_title(report), title_justify="left")
    for row in whole:
        table.add_row(*(str(row[name]) for name in names), _number(row["estimate"]))
    if whole:
        console.print(table)
    by_class: dict[str, dict[str, Any]] = {}
    for row in report.rows:
        if row.get("class", "all") != "all":
            by_class.setdefault(row["class"], {})[row["metric"]] = row["estimate"]
    if by_class:
        metrics = list(next(iter(by_class.values())))
        table = Table("class", *metrics, title="by class", title_justify="left")
        for name, found in by_class.items():
            table.add_row(name, *(_number(found[metric]) for metric in metrics))
        console.print(table)


def show_models(cards: list[Any], *, console: Console) -> None:
    """Print the cards of the models that have a name.

    Shapes   none.
    Units    params in millions, size in pixels, context in tokens.
    Returns  nothing.
    Raises   nothing.
    Source   ours.
    """
    table = Table("model", "source", "params", "px", "tokens", "trained on", "licence", title_justify="left")
    for card in cards:
        size = "" if card.params_M is None else f"{card.params_M:g} M"
        note = " (gated)" if card.gated else ""
        table.add_row(
            card.name,
            card.source + note,
            size,
            str(card.image_size),
            str(card.context),
            card.domain,
            card.licence,
        )
    console.print(table)
    console.print("Any other open_clip or HF CLIP model: --model hf-hub:ORG/REPO or --model local-dir:FOLDER.")


def show_places(folders: dict[str, Path], sources: list[Any], *, console: Console) -> None:
    """Print which data sets can be named: the phantoms, the folders that are here, the sets that can be
    fetched.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   nothing.
    Source   ours.
    """
    table = Table("data", "where", "images", title="here", title_justify="left")
    table.add_row("phantoms", "made by code", "any number")
    for name, path in folders.items():
        try:
            count = str(len(read_table(path)))
        except ValueError:
            count = "unreadable"
        table.add_row(name, str(path), count)
    console.print(table)
    if not folders:
        console.print("Set MEDADV_DATA to the directory that holds your tidy folders to see them here.")
    table = Table("data", "access", "licence", "note", title="can be fetched (see data_scripts/)", title_justify="left")
    seen: dict[str, Any] = {}
    for source in sources:
        seen.setdefault(source.name, source)
    for name, source in seen.items():
        table.add_row(name, source.access, source.licence, source.note)
    console.print(table)


def show_pairs(pairs: Pairs, *, folder: Path | None, console: Console) -> None:
    """Print what a data set holds: classes by split, groups, patients, captions, picture sizes, licences.

    Shapes   none.
    Units    counts; sizes in pixels.
    Returns  nothing.
    Raises   nothing.
    Source   ours.
    """
    splits = [s for s in ("train", "val", "test") if any(row.split == s for row in pairs.rows)] or [""]
    table = Table(
        "class",
        *(s or "all" for s in splits),
        title=f"{pairs.name}: {len(pairs)} images",
        title_justify="left",
    )
    count = Counter((row.label, row.split) for row in pairs.rows)
    for k, name in [*enumerate(pairs.classes), (-1, "unknown")]:
        cells = [count[k, s] for s in splits]
        if k >= 0 or any(cells):
            table.add_row(name, *map(str, cells))
    console.print(table)
    if pairs.group_by:
        number, names = pairs.groups()
        shares = [f"{name} {int((number == g).sum())}" for g, name in enumerate(names)]
        console.print(f"groups by {pairs.group_by}: {', '.join(shares)}, unknown {int((number < 0).sum())}")
    known = sorted({name for row in pairs.rows for name in row.attributes})
    captions = sorted({len(row.captions) for row in pairs.rows})
    console.print(f"patients: {len(set(pairs.patients))}; captions per image: {captions[0]} to {captions[-1]}")
    console.print(f"attributes: {', '.join(known) or 'none'}")
    if folder is not None:
        sizes, licences, scale = _files(folder)
        console.print(f"picture sizes: {sizes}; licences: {licences}")
        console.print(f"pixel values: {scale}")


def _files(folder: Path) -> tuple[str, str, str]:
    """Read the headers of all pictures: sizes, licences, and what their values mean."""
    rows = read_table(folder)
    sizes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for row in rows:
        try:
            if is_dicom(folder / row["image"]):
                own = dicom_window(folder / row["image"])
                windows["none" if own is None else f"{own[0]:g} to {own[1]:g}"] += 1
                sizes["DICOM"] += 1
                continue
            with Image.open(folder / row["image"]) as picture:  # reads the header only
                sizes["{} x {}".format(*picture.size)] += 1
                kinds[f"{picture.mode}, deeper than 8 bits" if deep(picture) else "8 bits"] += 1
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, ImportError, Image.DecompressionBombError):
            sizes["unreadable"] += 1
    few = ", ".join(f"{size} ({many})" for size, many in sizes.most_common(4))
    few += f" and {len(sizes) - 4} others" if len(sizes) > 4 else ""
    licences = "; ".join(sorted({row["licence"] for row in rows if row.get("licence")}) or ["not stated"])
    return few, licences, _scale(folder, kinds, windows)


def _scale(folder: Path, kinds: Counter[str], windows: Counter[str]) -> str:
    """Say which values become 0 and 1, and how to declare it where that is not known."""
    said = [f"{kind} ({many})" for kind, many in kinds.most_common()]
    declared = read_settings(folder).scale
    is_deep = any(kind != "8 bits" for kind in kinds)
    if windows:
        own = ", ".join(f"{window} ({many})" for window, many in windows.most_common(4))
        said.append(f"DICOM with the windows {own}")
    if declared is not None:
        low, high = declared
        return f"{'; '.join(said)}; declared: {low:g} to {high:g} become 0 to 1 (8-bit pictures as they are)"
    if is_deep or len(windows) > 1 or "none" in windows:
        said.append("no scale is declared for the folder: medadv data FOLDER --bits N, or --window LOW,HIGH")
    return "; ".join(said) or "none could be read"


def _number(estimate) -> str:
    if estimate.low != estimate.low:  # no interval
        return "not defined" if estimate.value != estimate.value else f"{estimate.value:.3f}"
    return f"{estimate:.3f}"


def _title(report: Report) -> str:
    named = [str(report.settings[k]) for k in ("task", "model", "data") if report.settings.get(k)]
    return ", ".join(named)


def console() -> Console:
    """Return the console that tables are printed on: the terminal's width, or 120 columns in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def finish(reports: dict[str, Report], out: Path | None) -> None:
    """Print reports and, where a folder is given, write each as JSON."""
    for name, report in reports.items():
        show_report(report, console=console())
        if out is not None:
            print(f"written: {report.save(out / f'{name}.json')}")
