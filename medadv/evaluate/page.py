"""A report under attack as one web page: tables and pictures that stand alone. Nothing is loaded from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from medadv._atomic import write_text
from medadv.evaluate._attacked_rows import SAVED
from medadv.evaluate._entry import REGION_NOTES
from medadv.evaluate._html import document, made, scroll, section
from medadv.evaluate.attacked import Attacked
from medadv.evaluate.doctor import Flag
from medadv.evaluate.intervals import Estimate
from medadv.evaluate.pictures import gallery


def save_page(
    report: Attacked,
    path: str | Path,
    *,
    flags: Sequence[Flag] = (),
    more: dict[str, Attacked] | None = None,
) -> Path:
    """Write a report under attack as a page that stands alone.

    Shapes   none.
    Units    none.
    Returns  the path.
    Raises   OSError if it cannot be written.
    Source   ours.
    """
    return write_text(path, page(report, flags=flags, more=more))


def page(report: Attacked, *, flags: Sequence[Flag] = (), more: dict[str, Attacked] | None = None) -> str:
    """Turn a report under attack into a page: summary, table, pictures, classes, the doctor's flags, how it was made.

    Shapes   none.
    Units    none.
    Returns  HTML with its style and its PNGs inside; light or dark as the reader's system asks.
    Raises   nothing.
    Source   ours.
    """
    facts = report.settings
    title = f"Under attack: {facts.get('model', '')} on {facts.get('data', '')}".replace(":  on", ":")
    parts = [f"<h1>{escape(title)}</h1>", f"<p class=lead>{escape(summary(report))}</p>"]
    parts.append(section("Results", scroll(table(short(report.wide()))) + f"<p>{escape(_notes(report))}</p>"))
    if report.pictures:
        parts.append(section("Pictures", gallery(report.pictures, facts["classes"])))
    for name, one in (more or {}).items():
        parts.append(section(name.replace("_", " ").capitalize(), scroll(table(one.wide()))))
    if flags:
        parts.append(section("Could these numbers lie?", _doctor(flags)))
    parts.append(section("By class", scroll(table(report.by_class()))))
    parts.append(made(report))
    return document(title, parts)


def summary(report: Attacked) -> str:
    """Say in a few sentences what a report under attack found.

    Shapes   none.
    Units    per cent.
    Returns  one sentence for the clean images and one for each threat, from its worst case.
    Raises   nothing.
    Source   ours.
    """
    wide = report.wide()
    clean = wide.iloc[0]["accuracy"]
    said = [f"Of {report.settings['images']} images the model has {_percent(clean)} right."]
    plain = wide[(wide["threat"] != "none") & ~wide["attack"].str.endswith(SAVED)]
    for threat, lines in plain.groupby("threat", sort=False):
        hardest = lines.iloc[-1]  # the worst case stands last
        by = (
            f"the worst of {len(lines) - 1} attacks"
            if hardest["attack"] == "worst"
            else f"the attack {hardest['attack']}"
        )
        said.append(f"Within {threat}, {by} leaves {_percent(hardest['accuracy'])} right.")
        saved = wide[(wide["threat"] == threat) & (wide["attack"] == hardest["attack"] + SAVED)]
        if len(saved):
            said.append(f"After rounding to 8 bits {_percent(saved.iloc[0]['accuracy'])} are right.")
    return " ".join(said)


def notes_of(facts: dict[str, Any]) -> list[str]:
    """Say what limited the attack, and what the rows of rounded images mean.

    Shapes   none.
    Units    none.
    Returns  sentences; none for an attack on all pixels whose images were not rounded.
    Raises   nothing.
    Source   ours.
    """
    saved = facts.get("8-bit", "")
    found = [REGION_NOTES[facts["region"]]] if facts.get("region") else []
    return [*found, f"{saved[0].upper()}{saved[1:]}."] if saved else found


def table(frame: pd.DataFrame) -> str:
    """Turn a table of estimates and words into HTML, with the interval and a small bar below each share.

    Shapes   none.
    Units    those of the cells.
    Returns  one <table>; header cells have their scope, empty columns are left out.
    Raises   nothing.
    Source   W3C, tables tutorial.
    """
    names = [name for name in frame.columns if not frame[name].map(_empty).all()]
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in names)
    body = ""
    for _, line in frame.iterrows():
        first, *rest = (line[name] for name in names)
        body += f'<tr><th scope="row">{escape(str(first))}</th>{"".join(map(_cell, rest))}</tr>\n'
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"


def short(wide: pd.DataFrame) -> pd.DataFrame:
    """Put sizes and costs of a wide table into one cell each, in words.

    Shapes   one line for each threat and attack.
    Units    sizes in L-inf as n/255, others in pixel units.
    Returns  the table with the columns `moved, mean (most)`, `passes per image` and `seconds per image`.
    Raises   nothing.
    Source   ours.
    """
    parts = ["mean size", "largest size", "forwards per image", "backwards per image", "seconds per image"]
    frame = wide.drop(columns=[name for name in parts if name in wide.columns])
    if parts[0] not in wide.columns:
        return frame
    lines = [
        [line[name] for name in parts] if isinstance(line[parts[0]], Estimate) else None for _, line in wide.iterrows()
    ]
    unit = [255 if str(threat).startswith("linf") else 1 for threat in wide["threat"]]
    frame["moved, mean (most)"] = [
        f"{x[0].value * u:.2f} ({x[1].value * u:.2f})" + "/255" * (u == 255) if x else ""
        for x, u in zip(lines, unit, strict=True)
    ]
    frame["passes per image"] = [f"{x[2].value:.1f} + {x[3].value:.1f}" if x else "" for x in lines]
    frame["seconds per image"] = [f"{x[4].value:.2g}" if x else "" for x in lines]
    return frame


def _cell(value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, Estimate) or math.isnan(value.value):
        return f"<td>{escape(value) if isinstance(value, str) else ''}</td>"
    if math.isnan(value.low):
        return f"<td>{value.value:.3f}</td>"
    told = f"{value.value:.3f}<br><small>{value.low:.3f} to {value.high:.3f}</small>"
    if value.low < 0 or value.high > 1:
        return f"<td>{told}</td>"
    place = f"--v:{100 * value.value:.1f}%;--l:{100 * value.low:.1f}%;--h:{100 * value.high:.1f}%"
    return f'<td>{told}<span class=bar style="{place}" aria-hidden=true></span></td>'


def _doctor(flags: Sequence[Flag]) -> str:
    lines = ""
    for flag in flags:
        verdict = "found" if flag.found else "not run" if flag.evidence.startswith("Not run") else "fine"
        look = {"found": "fooled", "fine": "held"}.get(verdict, "")
        said = escape(f"{flag.evidence} {flag.remedy}" if flag.found else flag.evidence)
        lines += f'<tr><th scope="row">{escape(flag.name)}</th><td class="{look}">{verdict}</td><td>{said}</td></tr>\n'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("check", "verdict", "what was seen"))
    many = sum(flag.found for flag in flags)
    listed = scroll(f"<table class=words><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
    return f"<p>{many} of {len(flags)} checks found something.</p>{listed}"


def _notes(report: Attacked) -> str:
    facts = report.settings
    said = f"Attack success rate: {facts['success']}. Small figures are 95 % intervals."
    said += " Passes are forward + backward; those of images that were fooled early are saved."
    said = " ".join([said, *notes_of(facts)])
    left = facts.get("left out", 0)
    why = " or of the target class" if facts.get("target") else ""
    return said + (f" {left} images of unknown label{why} were left out." if left else "")


def _empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
