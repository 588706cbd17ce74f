"""Retrieval under attack as one web page: what is still found, and pictures and captions before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from medadv.reports.html._page import document, made, scroll, section
from medadv.reports.html.pictures import amplified, trio
from medadv.reports.html.tables import table
from medadv.reports.report import Report


def found_table(report: Report, metric: str = "recall") -> pd.DataFrame:
    """Turn the long rows of retrieval under attack into one line for each attack and each side that was changed.

    Shapes   none.
    Units    proportions.
    Returns  table with one column for each direction and rank, estimates in the cells.
    Raises   nothing.
    Source   ours.
    """
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in report.rows:
        name, _, rank = row["metric"].partition("@")
        if name == metric:
            key = row["attack"], row["changed"]
            line = lines.setdefault(key, {"attack": key[0], "changed": key[1]})
            line[f"{row['direction']} {metric}@{rank}"] = row["estimate"]
    order = list(dict.fromkeys(name for name, _ in lines))  # each attack with its own worst case
    frame = pd.DataFrame(sorted(lines.values(), key=lambda line: order.index(line["attack"]))).astype(object)
    return frame[["attack", "changed", *sorted(frame.columns[2:], key=lambda name: name.split()[0])]]


def said_of_words(results: Mapping[str, Any]) -> list[str]:
    """Say in one sentence for each attack what it did to the words.

    Shapes   none.
    Units    shares in per cent; similarity is the cosine between the clean and the changed text.
    Returns  list of str.
    Raises   nothing.
    Source   ours.
    """
    said = []
    for name, result in results.items():
        words = result.words
        changed = np.mean([bool(edits) for edits in words.edits])
        kept, near = 100 * float(words.kept.float().mean()), float(words.similarity.mean())
        turned = f"{int(words.refused.sum())} that mean something else, "
        turned += f"{int(words.guarded.sum())} that touch protected words"
        said.append(
            f"{name}: {100 * changed:.0f} % of the texts were changed (similarity {near:.3f}, class words kept in "
            f"{kept:.0f} %); candidates refused: {turned}."
        )
    return said


def said_of_ends(report: Report) -> list[str]:
    """Say for each attack at which ranks it was carried to the end, where the report knows.

    Shapes   none.
    Units    none.
    Returns  list of str.
    Raises   nothing.
    Source   ours.
    """
    return [f"{name}: attacked {how}." for name, how in report.settings.get("attacked", {}).items()]


def page_pairs(
    report: Report, results: Mapping[str, Any], *, image: Tensor, text: Sequence[str], owner: Tensor, show: int = 6
) -> str:
    """Turn retrieval under attack into a page: tables, then images with one caption each, before and after.

    Shapes   image (B, 3, H, W) and M texts, clean; owner (M,); results {name: PairsResult} of these.
    Units    none.
    Returns  HTML with its style and its PNGs inside.
    Raises   nothing.
    Source   ours.
    """
    facts = report.settings
    title = f"Retrieval under attack: {facts.get('model', '')} on {facts.get('data', '')}"
    parts = [f"<h1>{escape(title)}</h1>"]
    for name, metric in (("Still found", "recall"), ("Attack success rate", "ASR lost")):
        told = f"<p>The {escape(facts['formulas'][metric])}.</p>" if metric in facts["formulas"] else ""
        parts.append(section(name, told + scroll(table(found_table(report, metric)))))
    lines = [*said_of_words(results), *said_of_ends(report)]
    parts.append(section("Words", "".join(f"<p>{escape(line)}</p>" for line in lines)))
    first = {int(place): m for m, place in reversed(list(enumerate(owner.tolist())))}
    for name, result in results.items():
        times = amplified([(image[i], result.image[i]) for i in range(len(image))])
        figures = "".join(
            _figure(image[i], result.image[i], times, text[first[i]], result.text[first[i]], bool(result.image_won[i]))
            for i in result.image_won.int().argsort(descending=True, stable=True)[:show].tolist()
        )
        parts.append(section(f"Pictures: {name}", f"<div class=gallery>{figures}</div>"))
    return document(title, [*parts, made(report)])


def _figure(clean: Tensor, adversarial: Tensor, times: int, before: str, after: str, won: bool) -> str:
    shown = trio(clean, adversarial, times, said=("of a pair", "of the same pair"), by="the attack")
    new = escape(after) if after == before else " ".join(
        f"<mark>{escape(b)}</mark>" if a != b else escape(b) for a, b in zip(before.split(), after.split(), strict=True)
    )  # fmt: skip
    verdict = (
        "<span class=fooled>lost its texts</span>" if won else "<span class=held>still finds one of its texts</span>"
    )
    return f"<figure>{shown}<figcaption>{escape(before)}<br>→ {new}<br>{verdict}</figcaption></figure>"
