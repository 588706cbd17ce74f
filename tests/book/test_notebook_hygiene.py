"""Committed notebooks are run, short, described and carry nothing they should not."""

from __future__ import annotations

import base64
import io
import re

import nbformat
import numpy as np
import pytest
from _notebooks import BOOK, NOTEBOOKS, ROOT, name, read

IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE | re.DOTALL)
ALT = re.compile(r'\balt="([^"]*)"')
HTML_OUTPUTS = ("display_data", "execute_result")


def faults(notebook, size: int = 0) -> list[str]:
    """Say all that is wrong with a notebook."""
    found = []
    if size > 1_000_000:
        found.append(f"{size} bytes, more than 1 MB")
    if notebook.metadata.get("widgets"):
        found.append("stores widget state")
    counts = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            counts.append(cell.execution_count)
            found += [f"cell {number}: {fault}" for fault in _code_faults(cell)]
        elif cell.cell_type == "markdown":
            found += [f"cell {number}: {fault}" for fault in _picture_faults(cell.source)]
            if re.search(r"!\[\s*\]\(", cell.source):
                found.append(f"cell {number}: picture without a description")
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"not run from top to bottom in one go: execution counts {counts}")
    return found


def _code_faults(cell) -> list[str]:
    found = []
    lines = cell.source.splitlines()
    if cell.execution_count is None:
        found.append("not executed")
    if len(lines) > 12 and "exercise" not in cell.metadata.get("tags", []):
        found.append(f"{len(lines)} lines of code, more than 12")
    if any(len(line) > 92 for line in lines):
        found.append("a line longer than 92 characters scrolls out of the page")
    if lines and lines[-1].rstrip().endswith(";"):
        found.append("ends with ';', which nbval does not honour")
    printed = 0
    for output in cell.outputs:
        if output.output_type == "error":
            found.append(f"stores the error {output.ename}")
        if output.output_type == "stream":
            printed += len(output.text.splitlines())
        data = output.get("data", {})
        printed += len(data.get("text/plain", "").splitlines())
        if any("widget" in kind for kind in data):
            found.append("stores a widget")
        said = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        if ("image/png" in data or "image/jpeg" in data) and not said:
            found.append("picture without a description: use medadv.course.figures.show")
        found += _picture_faults(data.get("text/html", ""))
    if printed > 100:
        found.append(f"{printed} lines of output, more than 100")
    return found


def _picture_faults(html: str) -> list[str]:
    found = []
    for tag in IMG.findall(html):
        alt = ALT.search(tag)
        if not alt or not alt.group(1).strip():
            found.append("picture without a description")
    if re.search(r"""(src|href)=["'](https?:)?//""", html) and "<img" in html:
        found.append("picture from another site")
    return found


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook(path):
    assert faults(read(path), path.stat().st_size) == []


def _notebook(source="1 + 1", *, count=1, outputs=(), metadata=None):
    cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=list(outputs), metadata=metadata or {})
    return nbformat.v4.new_notebook(cells=[cell])


def _output(kind, text):
    return nbformat.v4.new_output("display_data", {kind: text})


def test_hygiene_refuses_what_it_should():
    stream = nbformat.v4.new_output("stream", text="x\n" * 101)
    bad = {
        "not executed": _notebook(count=None),
        "more than 12": _notebook("x = 1\n" * 13),
        "ends with ';'": _notebook("plt.plot(x);"),
        "more than 100": _notebook(outputs=[stream]),
        "stores a widget": _notebook(outputs=[_output("application/vnd.jupyter.widget-view+json", {})]),
        "without a description": _notebook(outputs=[_output("image/png", "AAAA")]),
        "from top to bottom": _notebook(count=4),
        "scrolls": _notebook("x = '" + "a" * 100 + "'"),
    }
    for message, notebook in bad.items():
        assert any(message in fault for fault in faults(notebook)), message
    assert any("description" in f for f in faults(_notebook(outputs=[_output("text/html", "<img src='x'>")])))
    assert any("1 MB" in f for f in faults(_notebook(), 1_000_001))
    described = _notebook(outputs=[_output("image/png", "AAAA")], metadata={"mystnb": {"image": {"alt": "A plot."}}})
    assert faults(described) == []


def _pictures():
    """Yield every picture stored in the book, decoded."""
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                coded = re.findall(r"base64,([A-Za-z0-9+/=]+)", data.get("text/html", ""))
                for text in [*coded, *([data["image/png"]] if "image/png" in data else [])]:
                    yield name(path), base64.b64decode(text)


def test_no_real_image_is_stored(real_data):
    """A picture of the book that looks like one of the real data sets at 16 x 16 pixels is refused."""
    from PIL import Image

    def glance(image):
        small = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), dtype=np.float64).ravel()
        small -= small.mean()
        return small / (np.linalg.norm(small) + 1e-9)

    files = [p for folder in sorted(real_data.iterdir()) for p in sorted((folder / "images").glob("*"))[::4]]
    known = np.stack([glance(Image.open(p)) for p in files[:600]])
    for page, raw in _pictures():
        like = known @ glance(Image.open(io.BytesIO(raw)))
        assert like.max() < 0.98, f"{page} stores a picture like {files[int(like.argmax())].name}"


def test_no_picture_files_of_data_are_committed():
    allowed = {BOOK / "_static" / "favicon.svg"}
    found = {
        p for p in BOOK.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".dcm", ".gif", ".svg")
    }
    assert sorted(p.relative_to(ROOT).as_posix() for p in found - allowed) == []
