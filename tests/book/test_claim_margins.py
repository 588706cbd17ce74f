"""Every claim that nbval compares has room: no processor turns it round. See portable.py for how it was measured."""

from __future__ import annotations

import ast
import json

import portable
import pytest
from _notebooks import NOTEBOOKS, name, read

REMEDY = "run `make claims`"


def _file() -> dict:
    return json.loads(portable.FILE.read_text(encoding="utf-8"))


def _stored() -> dict[str, dict[str, dict]]:
    return _file()["chapters"]


def _compared(path) -> list[tuple[str, bool]]:
    """List (text, verdict) of the claims in the compared outputs of a notebook."""
    found = []
    for cell in read(path).cells:
        if cell.cell_type != "code" or "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        printed = "".join(output.get("text", "") for output in cell.outputs)
        for line in printed.splitlines():
            for word, verdict in (("HOLDS: ", True), ("DOES NOT HOLD: ", False)):
                if line.startswith(word):
                    found.append((line[len(word) :], verdict))
    return found


def test_the_file_knows_every_setting():
    assert _file()["settings"] == portable.SETTINGS, REMEDY


def test_no_claim_stands_on_the_edge():
    assert portable.faults(_stored()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_compared_claim_has_a_known_margin(path):
    stored = _stored().get(path.parent.name, {})
    for text, verdict in _compared(path):
        assert text in stored, f"{text!r} is not in claims.json: {REMEDY}"
        assert stored[text]["holds"] == verdict, f"{text!r} came out otherwise when margins were measured: {REMEDY}"


def test_no_margin_is_kept_of_a_claim_that_is_gone():
    made = {(path.parent.name, text) for path in NOTEBOOKS for text, _ in _compared(path)}
    stored = {(chapter, text) for chapter, entries in _stored().items() for text in entries}
    assert stored - made == set(), REMEDY


def _hidden_comparisons(source: str) -> list[str]:
    """List claims that are given as exact although they compare sizes, so that their margin is not recorded."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim" and len(node.args) == 2:
            orders = [one for part in ast.walk(node) if isinstance(part, ast.Compare) for one in part.ops]
            called = [getattr(part.func, "attr", "") for part in ast.walk(node.args[1]) if isinstance(part, ast.Call)]
            sizes = any(isinstance(one, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for one in orders)
            if sizes or {"allclose", "isclose", "equal"} & set(called):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_what_is_compared_by_size_records_its_margin(path):
    for cell in read(path).cells:
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", []) and "claim(" in cell.source:
            assert _hidden_comparisons(cell.source) == []


def test_a_hidden_comparison_is_found():
    assert _hidden_comparisons("claim('a', x < 3)")
    assert _hidden_comparisons("claim('a', all(a <= b for a, b in c))")
    assert _hidden_comparisons("claim('a', torch.allclose(a, b))")
    assert not _hidden_comparisons("claim('a', x, '<', 3)\nclaim('b', words == 'left')")


def _line(margin, *, chapter="01_a", claim="c", value=1.0):
    facts = {"value": value, "relation": ">", "threshold": value - margin, "margin": margin}
    return {"chapter": chapter, "claim": claim, "holds": margin > 0, **facts}


def test_records_of_all_settings_are_joined():
    exact = {"chapter": "01_a", "claim": "d", "holds": True, "exact": True}
    joined = portable.merge({"native": [_line(0.5), _line(0.3), exact], "sse41": [_line(0.4), exact]})
    entry = joined["01_a"]["c"]
    assert entry["holds"] is True
    assert entry["margin"] == 0.3  # the smaller of the two claims of the same words
    assert entry["difference"] == pytest.approx(0.1)
    assert entry["values"] == {"native": 1.0, "sse41": 1.0}
    assert joined["01_a"]["d"] == {"holds": True, "exact": True}
    assert portable.faults(joined) == []


@pytest.mark.parametrize(
    ("margins", "message"),
    [((0.3, 0.1), "settings differ by 0.2"), ((0.1, -0.1), "did not come out alike"), ((0.0, 0.0), "margin 0.0")],
)
def test_a_claim_on_the_edge_is_refused(margins, message):
    joined = portable.merge({"native": [_line(margins[0])], "sse41": [_line(margins[1])]})
    assert [message in fault for fault in portable.faults(joined)] == [True]


def test_a_claim_that_was_not_made_under_every_setting_is_refused():
    joined = portable.merge({"native": [_line(0.5), _line(0.5, claim="d")], "sse41": [_line(0.5)]})
    assert ["'d'" in fault for fault in portable.faults(joined)] == [True]


def test_a_part_of_the_runs_leaves_the_other_chapters_as_they_are(tmp_path):
    """The file changes only for the chapters that ran under every setting."""
    file, folder = tmp_path / "claims.json", tmp_path / "records"
    for setting in portable.SETTINGS:
        portable.forget(folder / setting, [])
        lines = [_line(0.5), _line(0.5, chapter="02_b")]
        (folder / setting).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    portable.update(folder, file)
    for setting in list(portable.SETTINGS)[:-1]:  # chapter 1 runs again, not yet under the last setting
        portable.forget(folder / setting, ["01_a"])
        with (folder / setting).open("a", encoding="utf-8") as records:
            records.write(json.dumps(_line(0.5, chapter="03_c")) + "\n")
    assert set(portable.update(folder, file)) == {"02_b"}
    assert set(json.loads(file.read_text(encoding="utf-8"))["chapters"]) == {"01_a", "02_b"}


def test_the_file_is_written_one_line_for_each_claim(tmp_path):
    file = tmp_path / "claims.json"
    portable.write(portable.merge({"native": [_line(0.5), _line(0.3, chapter="02_b")]}), file)
    text = file.read_text(encoding="utf-8")
    assert set(json.loads(text)["chapters"]) == {"01_a", "02_b"}
    assert sum('"c"' in line for line in text.splitlines()) == 2
