"""The table of contents, the bibliography, the glossary and the generated parts of the book."""

from __future__ import annotations

import json
import re
import sys

import pytest
from _notebooks import BOOK, NOTEBOOKS, PAGES, ROOT, name, read, toc_entries

sys.path.insert(0, str(BOOK / "_ext"))
CITE = re.compile(r"\{cite(?::[a-z]+)?\}`([^`]+)`")
TERM = re.compile(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`")


def _texts():
    for path in PAGES:
        yield name(path), path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                yield name(path), cell.source


def _keys():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)


def _terms():
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    inside = text.split("```{glossary}\n")[1].split("```")[0]
    return [line for line in inside.splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize("entry", toc_entries())
def test_toc_entry_exists(entry):
    assert (ROOT / f"{entry}.md").is_file() or (ROOT / f"{entry}.ipynb").is_file()


def test_every_page_is_in_the_toc():
    written = {p.relative_to(ROOT).with_suffix("").as_posix() for p in [*PAGES, *NOTEBOOKS]}
    assert written == set(toc_entries())


def test_bibliography_keys():
    keys = _keys()
    assert len(keys) == len(set(keys))
    used = {key.strip() for _, text in _texts() for found in CITE.findall(text) for key in found.split(",")}
    assert used <= set(keys), used - set(keys)


def test_bibliography_names_the_systems():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    for number in (
        "2407.02716",
        "2408.16769",
        "2505.02971",
        "2405.18770",
        "2505.03153",
        "2103.00020",
        "1706.06083",
    ):
        assert number in text


def test_glossary():
    terms = _terms()
    assert len(terms) >= 60
    assert len({t.lower() for t in terms}) == len(terms)
    assert [t.lower() for t in terms] == sorted(t.lower() for t in terms)
    used = {term.strip() for page, text in _texts() for term in TERM.findall(text)}
    assert used <= set(terms), used - set(terms)


def test_pages_speak_of_nothing_outside():
    forbidden = re.compile(r"(/work/|/home/|/root/|/tmp/|TODO|FIXME)")
    for page, text in _texts():
        assert not forbidden.search(text), page


def test_config_is_the_measured_one():
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    for line in (
        'execute_notebooks: "off"',
        "only_build_toc_files: true",
        'path_to_book: ""',
        "mathjax_path: vendor/",
    ):
        assert line in text
    assert not (ROOT / "_static").exists()  # Jupyter Book would load everything in it on every page


def test_mathjax_is_whole():
    folder = BOOK / "_static" / "vendor" / "mathjax"
    assert (folder / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
    assert (folder / "tex-mml-chtml.js").stat().st_size > 1_000_000
    fonts = list((folder / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))
    assert len(fonts) == 23
    assert all(font.read_bytes()[:4] == b"wOFF" for font in fonts)


FINDING = {
    "paper": "han2024ran",
    "finding": "a | b",
    "measured": 0.5,
    "low": 0.4,
    "high": 0.6,
    "verdict": "holds",
}


def test_reproduced_table(tmp_path):
    import reproduced

    assert reproduced.read_findings(tmp_path) == ([], [])
    folder = tmp_path / "06_ran" / "results"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"findings": [FINDING], "provenance": {"command": "make it"}}))
    (folder / "b.json").write_text(json.dumps({"findings": [{**FINDING, "verdict": "perhaps"}]}))
    (folder / "c.json").write_text("{")
    (folder / "d.json").write_text("[]")
    found, faults = reproduced.read_findings(tmp_path)
    assert [f["command"] for f in found] == ["make it"]
    assert len(faults) == 2
    row = reproduced.table(found)[-1]
    assert "{cite:t}`han2024ran`" in row
    assert "a \\| b" in row
    assert "0.5 [0.4, 0.6]" in row


def test_stored_findings_are_well_formed():
    import reproduced

    found, faults = reproduced.read_findings(BOOK)
    assert faults == []
    assert {finding["paper"] for finding in found} <= set(_keys())


def test_every_chapter_is_listed_with_the_times_of_its_card():
    listed = (BOOK / "how_to_use.md").read_text(encoding="utf-8")
    for page in sorted(BOOK.glob("[0-9]*/index.md")):
        told = re.search(
            r"(\d+) minutes to read, (\d+) to run, (\d+) for the exercises", page.read_text(encoding="utf-8")
        )
        assert told, page
        row = f"| {{doc}}`{page.parent.name}/index` | " + " | ".join(f"{n} min" for n in told.groups()) + " | lab "
        assert row in listed, row
