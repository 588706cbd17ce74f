"""What the hygiene tests look at: every committed notebook and page of the book."""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(p for p in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
PAGES = sorted(p for p in BOOK.rglob("*.md"))


def name(path: Path) -> str:
    """Return the path as a test is called."""
    return path.relative_to(ROOT).as_posix()


def read(path: Path):
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def toc_entries() -> list[str]:
    """List the pages that _toc.yml names."""

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("file", "root"):
                    yield value
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for part in node:
                yield from walk(part)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
