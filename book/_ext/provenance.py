"""The directive `{notebooks}`: when every notebook of the book was last run, on what, and how long it took.

`python -m medadv.course.build --execute` writes these facts into the metadata of the notebook.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def read_runs(book: Path, pages: set[str]) -> list[tuple[str, dict]]:
    """Collect what the notebooks among the pages say about their last run."""
    runs = []
    for path in sorted(book.glob("*/*.ipynb")):
        page = f"book/{path.relative_to(book).with_suffix('').as_posix()}"
        if page in pages:
            runs.append((page, json.loads(path.read_text(encoding="utf-8"))["metadata"].get("medadv", {})))
    return runs


def table(runs: list[tuple[str, dict]]) -> list[str]:
    """Write the runs as a MyST table."""
    lines = ["| notebook | seconds | Python | PyTorch | day |", "| --- | --- | --- | --- | --- |"]
    for page, facts in runs:
        cells = [f"[{page.removeprefix('book/')}](/{page}.ipynb)"]
        cells += [str(facts.get(key, "not recorded")) for key in ("seconds", "python", "torch", "date")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


class Notebooks(SphinxDirective):
    """Insert the table."""

    def run(self) -> list[nodes.Node]:
        """Read the notebooks and hand MyST the table."""
        book = Path(self.env.srcdir) / "book"
        self.env.note_reread()
        box = nodes.container()
        lines = table(read_runs(book, set(self.env.found_docs)))
        self.state.nested_parse(StringList(lines, source="notebooks"), self.content_offset, box)
        return box.children


def setup(app):
    """Register the directive."""
    app.add_directive("notebooks", Notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
