"""Exercises and solutions are what their master says, and the master's language does what it should."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from medadv.course import build

pytest.importorskip("jupytext", reason="masters need the 'course' extra")

BOOK = Path(__file__).parents[2] / "book"
MASTERS = sorted(BOOK.glob(f"*/{build.MASTER}"))


def test_there_is_a_master():
    assert MASTERS


@pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.parent.name)
def test_generated_notebooks_are_in_step(master):
    names = ("exercises.ipynb", "solutions.ipynb")
    for made, name in zip(build.make(master), names, strict=True):
        there = nbformat.read(master.parent / name, as_version=4)
        assert build.sources(made) == build.sources(there), f"run python -m medadv.course.build {master.parent}"


@pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.parent.name)
def test_stubs_hide_every_solution(master):
    asked, solved = build.make(master)
    answers = [c.source for c in solved.cells if c.cell_type == "code" and "checks." in c.source and "def " in c.source]
    for cell in asked.cells:
        assert "SOLUTION" not in cell.source
        assert cell.source not in answers
    assert not any("your code" in cell.source for cell in solved.cells)


@pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.parent.name)
def test_outputs_say_what_they_should(master):
    def verdicts(name):
        for cell in nbformat.read(master.parent / name, as_version=4).cells:
            for output in cell.get("outputs", []):
                yield output.data["text/plain"]

    assert all("not yet answered" in text for text in verdicts("exercises.ipynb"))
    assert all(": right" in text for text in verdicts("solutions.ipynb"))


MASTER = '''# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 7}
# ## A question
#
# Do it.

# %% [markdown] tags=["hint"]
# Think.

# %% [markdown] tags=["hint"]
# Think again.


# %% tags=["exercise"]
def f(x):
    """Double."""
    # SOLUTION
    y = x + x
    return y
    # END SOLUTION


f(1)

# %% [markdown] tags=["solution-only"]
# Because.

# %% [markdown] tags=["exercise-only"]
# Go on.
'''


def test_master_language(tmp_path):
    path = tmp_path / build.MASTER
    path.write_text(MASTER)
    asked, solved = build.make(path)
    text = [cell.source for cell in asked.cells]
    assert "Difficulty ●●○○○ (2 of 5), importance ●●●●● (5 of 5), about 7 minutes." in text[0]
    assert "<summary>Hint 1</summary>" in text[1]
    assert "<summary>Hint 2</summary>" in text[2]
    assert text[3] == 'def f(x):\n    """Double."""\n    ...  # your code\n\n\nf(1)'
    assert text[4] == "Go on."
    told = [cell.source for cell in solved.cells]
    assert told[1] == 'def f(x):\n    """Double."""\n    y = x + x\n    return y\n\n\nf(1)'
    assert told[2] == "Because."
    assert len(told) == 3
    nbformat.validate(asked)
    assert nbformat.writes(asked) == nbformat.writes(build.make(path)[0])


@pytest.mark.parametrize("source", ["x = 1", "# SOLUTION\nx = 1", "# END SOLUTION"])
def test_split_wants_pairs(source):
    with pytest.raises(ValueError, match="in pairs"):
        build.split(source)


def test_write_is_whole_or_not(tmp_path):
    path = tmp_path / "a.ipynb"
    build.write(nbformat.v4.new_notebook(), path)
    assert nbformat.read(path, as_version=4).cells == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]
