"""A stored number names the commit of the code that made it; a table stored just before is no change of the code."""

import subprocess

import pytest

from medadv._provenance import _commit


@pytest.fixture
def tree(tmp_path):
    for name in ("pkg/code.py", "book/01_one/results/a.json", "benchmarks/results/b.json", "book/01_one/page.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    return tmp_path


@pytest.mark.parametrize("name", ["book/01_one/results/a.json", "benchmarks/results/b.json"])
def test_a_stored_table_does_not_make_the_commit_dirty(tree, name):
    (tree / name).write_text("2\n")
    assert not _commit(tree / "pkg/code.py").endswith("+")


@pytest.mark.parametrize("name", ["pkg/code.py", "book/01_one/page.md"])
def test_changed_code_makes_the_commit_dirty(tree, name):
    (tree / name).write_text("2\n")
    assert _commit(tree / "pkg/code.py").endswith("+")


def test_a_package_outside_a_repository_has_no_commit(tmp_path):
    (tmp_path / "code.py").write_text("1\n")
    assert _commit(tmp_path / "code.py") is None
