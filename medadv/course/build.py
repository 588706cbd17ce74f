"""One master makes the exercises and their solutions; nothing in either is written by hand.

A master is a jupytext percent file `book/NN_name/exercises_master.py`. Tags on its cells:

    exercise       code with `# SOLUTION` ... `# END SOLUTION`, replaced by `...` in the exercises
    hint           markdown, folded away in the exercises and left out of the solutions
    exercise-only, solution-only

A markdown cell with `about={"difficulty": 1-5, "importance": 1-5, "minutes": n}` gets these facts under its
heading.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from medadv._atomic import write_text

MASTER = "exercises_master.py"
_SOLUTION = re.compile(r"^([ \t]*)# SOLUTION\n.*?^[ \t]*# END SOLUTION\n?", re.DOTALL | re.MULTILINE)
_MARKS = re.compile(r"^[ \t]*# (END )?SOLUTION\n?", re.MULTILINE)
_BAR = re.compile(r"\d+%\|.*\| \d+/\d+ \[")
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def make(master: Path) -> tuple[NotebookNode, NotebookNode]:
    """Read a master and write both notebooks, not yet run.

    Shapes   none.
    Units    none.
    Returns  (exercises, solutions); cell ids are numbered, so equal masters give equal notebooks.
    Raises   ValueError if a code cell tagged `exercise` holds no solution or a mark is not closed.
    Source   ours; the way of INRIA's scikit-learn course: the solution is the source.
    """
    import jupytext

    cells = jupytext.read(master, fmt="py:percent").cells
    asked: list[NotebookNode] = []
    solved: list[NotebookNode] = []
    hints = 0
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        about = cell.metadata.get("about")
        source = cell.source
        if about:
            hints = 0
            source = _with_facts(source, about)
        if "exercise" in tags:
            stub, answer = split(source, where=str(master))
        else:
            stub = answer = source
        if "hint" in tags:
            hints += 1
            stub = f"<details>\n<summary>Hint {hints}</summary>\n\n{source}\n\n</details>"
        if "solution-only" not in tags:
            asked.append(_cell(cell.cell_type, stub, f"e{len(asked):03d}"))
        if "exercise-only" not in tags and "hint" not in tags:
            solved.append(_cell(cell.cell_type, answer, f"s{len(solved):03d}"))
    return _notebook(asked), _notebook(solved)


def split(source: str, *, where: str = "the cell") -> tuple[str, str]:
    """Cut a solution out of a cell.

    Shapes   none.
    Units    none.
    Returns  (stub, solution): the text with `...` in place of the solution, and the text without the marks.
    Raises   ValueError if there is no solution or a mark is left open.
    Source   ours.
    """
    text = source if source.endswith("\n") else source + "\n"
    stub, count = _SOLUTION.subn(lambda found: f"{found.group(1)}...  # your code\n", text)
    if not count or _MARKS.search(stub):
        raise ValueError(
            f"The exercise cells of {where} must hold '# SOLUTION' and '# END SOLUTION' in pairs; got a cell "
            f"without. Mark what the learner is to write.\n{source}"
        )
    return stub.rstrip("\n"), _MARKS.sub("", text).rstrip("\n")


def execute(notebook: NotebookNode, *, folder: Path, timeout: int = 300) -> NotebookNode:
    """Run a notebook in its folder as nbval will, and note time, versions and day in its metadata.

    Shapes   none.
    Units    timeout in seconds for one cell.
    Returns  the same notebook with outputs and without volatile cell metadata.
    Raises   nbclient's CellExecutionError if a cell fails.
    Source   ours.
    """
    from importlib.metadata import version

    from nbclient import NotebookClient

    began = time.perf_counter()
    # No picture of a real patient may be stored: for publication a notebook runs as if there were none.
    hidden = {"MEDADV_DATA": "", "MEDADV_LIVE": "0"}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **hidden})
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:  # progress bars: whether one shows up depends on how busy the machine is
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not _BAR.search(one.get("data", {}).get("text/plain", ""))]
    notebook.metadata["medadv"] = {
        "seconds": round(time.perf_counter() - began, 1),
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": datetime.date.today().isoformat(),
    }
    return notebook


def sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """List what a reader would type or read, for comparison with the master.

    Shapes   one (kind, text) for each cell.
    Units    none.
    Returns  a list in the order of the notebook.
    Raises   nothing.
    Source   ours.
    """
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   OSError if the folder cannot be written.
    Source   ours.
    """
    write_text(path, nbformat.writes(notebook) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make exercises.ipynb and solutions.ipynb of the chapters given, or run other notebooks again.

    Shapes   none.
    Units    none.
    Returns  0.
    Raises   what `make` and `execute` raise.
    Source   ours.
    """
    parser = argparse.ArgumentParser(prog="python -m medadv.course.build", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, help="chapter folders; all below book/ by default")
    parser.add_argument("--execute", nargs="+", type=Path, metavar="NOTEBOOK", help="run these notebooks in place")
    chosen = parser.parse_args(arguments)
    for path in chosen.execute or ():
        notebook = nbformat.read(path, as_version=4)
        write(execute(notebook, folder=path.parent), path)
        print(f"{path}: {notebook.metadata['medadv']['seconds']} s")
    folders = chosen.chapters or ([] if chosen.execute else sorted(p.parent for p in Path("book").glob(f"*/{MASTER}")))
    for folder in folders:
        for notebook, name in zip(make(folder / MASTER), ("exercises.ipynb", "solutions.ipynb"), strict=True):
            write(execute(notebook, folder=folder), folder / name)
            print(f"{folder / name}: {notebook.metadata['medadv']['seconds']} s")
    return 0


def _with_facts(source: str, about: dict) -> str:
    def dots(n):
        return "●" * n + "○" * (5 - n)

    line = (
        f"*Difficulty {dots(about['difficulty'])} ({about['difficulty']} of 5), importance "
        f"{dots(about['importance'])} ({about['importance']} of 5), about {about['minutes']} minutes.*"
    )
    heading, _, rest = source.partition("\n")
    return f"{heading}\n\n{line}\n{rest}"


def _cell(kind: str, source: str, name: str) -> NotebookNode:
    new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return new(source, id=name)


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=cells, metadata=nbformat.from_dict(_KERNEL))


if __name__ == "__main__":
    raise SystemExit(main())
