"""What the pages of reports share: the whole, its sections, wide tables, and how a report was made."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from medadv.reports.report import Report

_STYLE = Path(__file__).with_name("page.css")


def document(title: str, parts: Sequence[str]) -> str:
    """Put the parts of a page into a whole one with the style of our reports."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style>"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n'
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def made(report: Report) -> str:
    """Say how a report was made, folded away."""
    facts = {name: value for name, value in {**report.settings, **report.versions}.items() if value not in (None, {})}
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_said(value))}</dd>" for name, value in facts.items())
    return f"<details><summary>How this was made</summary><dl>{lines}</dl></details>"


def section(name: str, html: str) -> str:
    """Put HTML below a heading."""
    return f"<section><h2>{escape(name)}</h2>{html}</section>"


def scroll(html: str) -> str:
    """Let a wide table scroll by itself, with the keyboard too."""
    return f'<div class=scroll tabindex=0 role=region aria-label="table">{html}</div>'


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
