"""The directive `{reproduced}`: what papers found and what we measured, read from the stored results at
build time.

Every file book/*/results/*.json may hold a list `findings`; each finding has `paper` (a key of
references.bib), `finding`, `measured` (text or a number), optionally `low` and `high`, `verdict` and
`command`.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

VERDICTS = ("holds", "holds in part", "not refuted", "does not hold", "not tested")
NEEDED = ("paper", "finding", "measured", "verdict")
log = logging.getLogger(__name__)


def read_findings(book: Path) -> tuple[list[dict], list[str]]:
    """Collect the findings of all stored results in the order of chapters, and say what is wrong."""
    found, faults = [], []
    for path in sorted(book.glob("*/results/*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            faults.append(f"{path}: not JSON ({error})")
            continue
        settings = (data.get("provenance") or data.get("versions") or {}) if isinstance(data, dict) else {}
        for number, finding in enumerate(data.get("findings", []) if isinstance(data, dict) else []):
            missing = [key for key in NEEDED if finding.get(key) in (None, "")]
            if missing or finding.get("verdict") not in VERDICTS:
                faults.append(f"{path}: finding {number} lacks {missing} or has a verdict outside {VERDICTS}")
                continue
            command = finding.get("command") or settings.get("command") or data.get("command") or "not recorded"
            found.append({**finding, "command": command, "chapter": path.parent.parent.name})
    return found, faults


def measured(finding: dict) -> str:
    """Write a measured value with its interval."""
    value = finding["measured"]
    said = f"{value:.3g}" if isinstance(value, float) else str(value)
    if finding.get("low") is None or finding.get("high") is None:
        return said
    return f"{said} [{finding['low']:.3g}, {finding['high']:.3g}]"


def table(findings: list[dict]) -> list[str]:
    """Write the findings as a MyST table."""
    lines = ["| paper | finding | what we measured | verdict | command |", "| --- | --- | --- | --- | --- |"]
    for finding in findings:
        cells = [
            f"{{cite:t}}`{finding['paper']}`",
            finding["finding"],
            measured(finding),
            f"**{finding['verdict']}**",
            f"`{finding['command']}`",
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return lines


class Reproduced(SphinxDirective):
    """Insert the table, or a plain sentence where nothing is stored yet."""

    def run(self) -> list[nodes.Node]:
        """Read the results and hand MyST the table."""
        book = Path(self.env.srcdir) / "book"
        self.env.note_reread()  # results may be added at any time
        found, faults = read_findings(book)
        for fault in faults:
            log.warning(fault, location=(self.env.docname, self.lineno), type="reproduced")
        lines = (
            table(found) if found else ["*Nothing is stored yet: the chapters that compare with papers add rows here.*"]
        )
        box = nodes.container(classes=["mv-reproduced"])
        self.state.nested_parse(StringList(lines, source="reproduced"), self.content_offset, box)
        return box.children


def setup(app):
    """Register the directive."""
    app.add_directive("reproduced", Reproduced)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
