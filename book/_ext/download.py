"""The directive `{chapter-download}`: a link to a zip of the chapter's notebooks and the stored results they read.

The zips are written beside the built pages, into the folder `chapters`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

FOLDER = "chapters"


def pack(chapter: Path, file: Path) -> Path:
    """Write a chapter's notebooks and results into a zip; the same files give the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted([*chapter.glob("*.ipynb"), *chapter.glob("results/*.json")]):
            name = f"{chapter.name}/{path.relative_to(chapter).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return file


class ChapterDownload(SphinxDirective):
    """Insert the link; the page must lie in the chapter's folder."""

    def run(self) -> list[nodes.Node]:
        """Name the zip of the folder this page lies in."""
        *above, chapter, _ = self.env.docname.split("/")
        address = "../" * (len(above) + 1) + f"{FOLDER}/{chapter}.zip"
        link = (
            f'<p><a href="{address}" download>Download this chapter</a>: its notebooks and the results they read.</p>'
        )
        return [nodes.raw("", link, format="html")]


def write_all(app, error) -> None:
    """Pack every chapter that has notebooks, after a build without errors."""
    if error is None and app.builder.format == "html":
        for chapter in sorted({path.parent for path in (Path(app.srcdir) / "book").glob("*/*.ipynb")}):
            pack(chapter, Path(app.outdir) / FOLDER / f"{chapter.name}.zip")


def setup(app):
    """Register the directive and the packing."""
    app.add_directive("chapter-download", ChapterDownload)
    app.connect("build-finished", write_all)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
