"""Every public function tells its shapes, units, result, errors and source; everything else tells what it is.

Modules whose name starts with an underscore are private: there a sentence is enough.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Shapes", "Units", "Returns", "Raises", "Source")
# The command line: typer shows the docstring as help, where the parts would be noise.
COMMAND_LINE = {path.relative_to(ROOT).as_posix() for path in (ROOT / "medadv" / "cli").glob("*.py")}
FILES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "medadv").rglob("*.py"))]


def missing_parts(doc: str) -> list[str]:
    """Parts that do not start a line, in their order, with two spaces or more behind them."""
    found = re.findall(rf"^\s*({'|'.join(PARTS)})\s{{2,}}\S", doc, re.MULTILINE)
    return [part for part in PARTS if part not in found] or ([] if found == list(PARTS) else [f"order {found}"])


def sentence(doc: str | None) -> bool:
    return bool(doc) and bool(re.match(r"[\w`\"'$(].*[.:?!]", doc.strip(), re.DOTALL))


def complaints(source: str, file: str) -> Iterator[str]:
    tree = ast.parse(source)
    if tree.body and not sentence(ast.get_docstring(tree)):
        yield f"{file}: the module says nothing of itself"
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        where, doc = f"{file}:{node.lineno} {node.name}", ast.get_docstring(node)
        private = (Path(file).name.startswith("_") and Path(file).name != "__init__.py") or file in COMMAND_LINE
        if not sentence(doc):
            if file not in COMMAND_LINE:
                yield f"{where} has no sentence"
        elif isinstance(node, ast.FunctionDef) and not private and (lacks := missing_parts(doc)):
            yield f"{where} lacks {', '.join(lacks)}"
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if not isinstance(part, ast.FunctionDef) or part.name.startswith("_") or part.name == "forward":
                    continue
                if any(
                    "property" in ast.unparse(mark) or "overload" in ast.unparse(mark) for mark in part.decorator_list
                ):
                    continue
                if not sentence(ast.get_docstring(part)):
                    yield f"{file}:{part.lineno} {node.name}.{part.name} has no sentence"


@pytest.mark.parametrize("file", FILES)
def test_docstrings(file):
    assert list(complaints((ROOT / file).read_text(encoding="utf-8"), file)) == []


def test_the_test_sees_what_it_should():
    good = (
        '"""A."""\n\ndef f():\n    """Do it.\n\n    ' + "\n    ".join(f"{part}   x." for part in PARTS) + '\n    """\n'
    )
    assert list(complaints(good, "x.py")) == []
    bad = (
        good.replace('"""A."""', "").replace("    Units   x.\n", "")
        + "\nclass C:\n    '''C.'''\n    def m(self): ...\n"
    )
    assert [line.split(" ", 1)[1] for line in complaints(bad, "x.py")] == [
        "the module says nothing of itself",
        "f lacks Units",
        "C.m has no sentence",
    ]
