"""A report under attack as one web page: tables and pictures that stand alone. Nothing is loaded from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from medadv._atomic import write_text
from medadv.evaluate.intervals import Estimate
from medadv.reports._entry import REGION_NOTES
from medadv.reports._robustness_rows import SAVED
from medadv.reports.doctor import Flag
from medadv.reports.html._page import document, made, scroll, section
from medadv.reports.html.pictures import gallery
from medadv.reports.html.tables import short, table
from medadv.reports.robustness import Attacked


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


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
