"""A notebook works where its reader opens it: in JupyterLab, in a clone, in the zip of its chapter, or alone."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from pathlib import Path

import pytest
from _notebooks import BOOK, NOTEBOOKS, name, read

from medadv.course import claims

sys.path.insert(0, str(BOOK / "_ext"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_links_between_notebooks_are_files(path):
    """JupyterLab follows a link as a path: `solutions` is 404 there, `solutions.ipynb` opens on the site, too."""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for address in LINK.findall(cell.source):
                if not address.startswith(("http:", "https:", "#", "data:", "mailto:")):
                    assert (path.parent / address.partition("#")[0]).is_file(), address


def _results() -> list[str]:
    """List the paths that notebooks read with `stored`."""
    found = set()
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            if cell.cell_type != "code" or "stored(" not in cell.source:
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stored":
                    assert node.args[0].value.startswith(f"{path.parent.name}/results/"), name(path)
                    found.add(node.args[0].value)
    return sorted(found)


def test_a_downloaded_notebook_finds_its_results_in_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _results()
    for path in _results():
        assert claims.stored(path).path == path


def test_a_chapter_downloaded_as_a_zip_brings_its_results(tmp_path, monkeypatch):
    import download

    monkeypatch.setattr(claims, "_BOOK", tmp_path / "no clone")
    for chapter in sorted({path.parent for path in NOTEBOOKS}):
        file = download.pack(chapter, tmp_path / "zips" / f"{chapter.name}.zip")
        assert file.read_bytes() == download.pack(chapter, tmp_path / "again.zip").read_bytes()
        with zipfile.ZipFile(file) as archive:
            archive.extractall(tmp_path)
        monkeypatch.chdir(tmp_path / chapter.name)
        assert sorted(p.name for p in Path().glob("*.ipynb")) == sorted(p.name for p in chapter.glob("*.ipynb"))
        for path in _results():
            if path.startswith(chapter.name):
                assert claims.stored(path).file.is_relative_to(tmp_path)


def test_a_notebook_alone_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "_BOOK", tmp_path / "no clone")
    with pytest.raises(FileNotFoundError, match="download the whole chapter from the site"):
        claims.stored("01_medvlm/results/isic2017_tiny.json")
    assert "None" not in repr(claims.Stored({}, "a/results/b.json"))
