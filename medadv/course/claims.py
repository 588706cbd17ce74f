"""What a notebook asserts, in words that stay the same on every machine, and stored results with their
origin."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

_BOOK = Path(__file__).parents[2] / "book"  # there in a clone; a wheel has no book
_made: list[tuple[str, bool]] = []
_RELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_FORM = 'Write claim(text, holds) for what is exact, claim(text, value, ">", threshold) for what is computed.'


def claim(text: str, value, relation: str | None = None, threshold=None) -> None:
    """Print whether a sentence about the numbers above holds; nbval compares this line, not the digits.

    `claim(text, holds)` is for what is exact: words, shapes, whole numbers, what must hold by construction.
    `claim(text, value, ">", threshold)` is for what is computed: a run with `MEDADV_CLAIMS` set to a file
    appends the value, the threshold and the margin to that file, from which `make claims` learns how far the
    margin changes between machines.

    Shapes   value and threshold are numbers or equally long lists of them, compared one by one; or value is one
             truth value.
    Units    any; the relation is one of < <= > >=.
    Returns  nothing; the line is printed and kept for `claims`.
    Raises   ValueError if `value` is not one truth value, or not numbers beside a relation and a threshold.
    Source   ours.
    """
    if relation is None and threshold is None:
        truth, facts = _truth(value), {"exact": True}
    else:
        truth, facts = _compared(value, relation, threshold)
    _made.append((text, truth))
    if os.environ.get("MEDADV_CLAIMS"):
        line = {"chapter": Path.cwd().name, "claim": text, "holds": truth, **facts}
        with Path(os.environ["MEDADV_CLAIMS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    print(("HOLDS: " if truth else "DOES NOT HOLD: ") + text)


def _truth(holds) -> bool:
    try:
        return bool(holds)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"The 'value' parameter of claim must be one truth value; got {type(holds).__name__}. Use .all()."
        ) from error


def _compared(value, relation: str | None, threshold) -> tuple[bool, dict[str, Any]]:
    """Compare one by one; what is kept is the comparison that holds least, or fails most."""
    if relation not in _RELATIONS:
        raise ValueError(f"The 'relation' parameter of claim must be one of < <= > >=; got {relation!r}. {_FORM}")
    left, right = (_numbers(name, given) for name, given in (("value", value), ("threshold", threshold)))
    try:
        left, right = np.broadcast_arrays(left, right)
    except ValueError as error:
        raise ValueError(
            f"The 'threshold' parameter of claim must be one number or one for each value; got {right.size} for "
            f"{left.size} values. {_FORM}"
        ) from error
    slack = (left - right if relation[0] == ">" else right - left).ravel()
    least = int(np.nan_to_num(slack, nan=-np.inf).argmin())
    truth = bool(_RELATIONS[relation](left, right).all())
    return truth, {
        "value": float(left.ravel()[least]),
        "relation": relation,
        "threshold": float(right.ravel()[least]),
        "margin": float(slack[least]),
    }


def _numbers(name: str, given) -> np.ndarray:
    if isinstance(given, (list, tuple)):
        given = [one.detach().cpu() if hasattr(one, "detach") else one for one in given]
    try:
        given = given.detach().cpu() if hasattr(given, "detach") else given
        array = np.asarray([] if given is None else given, dtype=np.float64)
    except (RuntimeError, ValueError, TypeError):
        array = np.empty(0)
    if not array.size:
        raise ValueError(f"The '{name}' parameter of claim must be numbers; got {type(given).__name__}. {_FORM}")
    return array


def claims() -> tuple[tuple[str, bool], ...]:
    """List the claims made so far in this process.

    Shapes   one (text, truth) for each claim.
    Units    none.
    Returns  a tuple in the order in which they were made.
    Raises   nothing.
    Source   ours.
    """
    return tuple(_made)


@dataclass(frozen=True)
class Stored:
    """A result computed elsewhere: a table, and the line that says how to make it again."""

    data: dict[str, Any]
    path: str  # as it was asked for, so that a notebook shows the same on every machine
    file: Path | None = None  # where it lies

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        return self.data.get("rows", [])

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What was found, one dictionary for each claim of a paper."""
        return self.data.get("findings", [])

    @property
    def provenance(self) -> str:
        """One line: command, seed, versions, device, date, commit."""
        facts = dict(self.data)
        if "command" in self.data.get("versions", {}):  # a saved Report keeps its whole provenance there
            facts.update(self.data["versions"])
        facts.update(self.data.get("provenance", {}))
        said = []
        for key in ("command", "seed", "versions", "device", "date", "commit"):
            value = facts.get(key)
            if isinstance(value, dict):
                value = ", ".join(f"{name} {number}" for name, number in value.items())
            said.append(f"{key}: {'not recorded' if value is None or value == '' else value}")
        return "; ".join(said)

    def pick(self, *metrics: str, against: str | None = None, **where: Any) -> list[dict[str, Any]]:
        """Take the rows of some metrics, every one flat: value, low, high and n stand beside its other columns.

        `where` names columns and what must stand in them. Rows whose subject is "one - other" are paired differences:
        `against="other"` takes those, with "one" as the subject, and without it they are left out. A KeyError lists
        what there is if no row fits.
        """
        tail, found = f" - {against}", []
        for row in self.rows:
            subject = str(row.get("subject", ""))
            if not (subject.endswith(tail) if against else " - " not in subject):
                continue
            flat = {name: value for name, value in row.items() if name != "estimate"}
            flat |= {name: row["estimate"][name] for name in ("value", "low", "high", "n") if "estimate" in row}
            if against:
                flat["subject"] = subject.removesuffix(tail)
            if flat.get("metric") in (metrics or (flat.get("metric"),)) and where.items() <= flat.items():
                found.append(flat)
        if not found:
            asked = {**({"metric": metrics} if metrics else {}), **({"against": against} if against else {}), **where}
            columns = {"subject" if name == "against" else name for name in asked}
            known = {name: sorted({str(row.get(name)) for row in self.rows}) for name in sorted(columns)}
            raise KeyError(f"no row of {asked} in {self.path}; there are {known}")
        return found

    def value(self, metric: str, *, cell: str = "value", against: str | None = None, **where: Any) -> Any:
        """Return one number of the only row that `pick` finds: its value, or another cell such as "low".

        A KeyError says so if no row fits, or more than one.
        """
        rows = self.pick(metric, against=against, **where)
        if len(rows) > 1:
            raise KeyError(f"{len(rows)} rows of {metric!r} with {where} in {self.path}; name one more of {[*rows[0]]}")
        return rows[0][cell]

    def verdicts(self) -> Stored:
        """Return what the study says of each paper, by rules that were fixed before it ran, as a table of its own."""
        cells = ("finding", "measured", "low", "high", "verdict")
        rows = [{name: one.get(name) for name in cells} for one in self.findings]
        title = f"{self.data.get('title', self.path)}: findings"
        return Stored({**self.data, "rows": rows, "title": title}, self.path)

    def finding(self, begins: str) -> dict[str, Any]:
        """Return the finding that begins with these words; a KeyError lists the findings if there is none."""
        for one in self.findings:
            if one["finding"].startswith(begins):
                return one
        raise KeyError(f"no finding {begins!r}; there are {[one['finding'] for one in self.findings]}")

    def frame(self):
        """Return the rows as a pandas table, with every value and its interval in one column."""
        import pandas as pd

        table = pd.DataFrame([_flat(row) for row in self.rows])
        for name in [c[: -len("_low")] for c in table.columns if c.endswith("_low")]:
            if name in table and f"{name}_high" in table:
                cells = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
                table[name] = [
                    _cell(v) if low is None or low != low else f"{_cell(v)} [{_cell(low)}, {_cell(high)}]"
                    for v, low, high in cells
                ]
                table = table.drop(columns=[f"{name}_low", f"{name}_high"])
        return table

    def _repr_html_(self) -> str:
        table = self.frame()
        head = "".join(f'<th scope="col">{escape(str(c)).replace("_", " ")}</th>' for c in table.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>"
            for row in table.itertuples(index=False)
        )
        title = escape(str(self.data.get("title", self.path)))
        return (
            f'<table class="dataframe"><caption>{title}</caption><thead><tr>{head}</tr></thead>'
            f'<tbody>{body}</tbody></table><p class="mv-provenance">'
            f"<small>Stored result. {escape(self.provenance)}</small></p>"
        )

    def __repr__(self) -> str:
        return f"Stored({self.path}: {len(self.rows)} rows)"


def stored(path: str | Path) -> Stored:
    """Read a stored result and show it as a table with its origin.

    Shapes   the file holds `rows` (a list of flat dictionaries), `provenance` and, for papers, `findings`.
    Units    as named in the columns; `x_low` and `x_high` are the interval of `x`.
    Returns  a Stored that a notebook draws; `.rows`, `.findings`, `.frame()` and `.provenance` answer
             questions. A path such as "01_medvlm/results/isic2017_tiny.json" is looked for here, in the folder
             above and in the book of this project, so that a notebook finds it wherever it lies.
    Raises   FileNotFoundError if there is no such file, ValueError if it is not JSON of this form.
    Source   ours.
    """
    path = Path(path)
    places = [path] if path.is_absolute() else [path, Path("..") / path, _BOOK / path]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"The 'path' parameter of stored must be a result file; got {path.as_posix()}. It comes with the project: "
            "open the notebook in a clone (make lab), or download the whole chapter from the site, results included."
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The 'path' parameter of stored must be a JSON file; got {path}. {error}") from error
    rows = data.get("rows") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"The 'path' parameter of stored must hold an object with a list 'rows' of objects; got {path}. "
            "Write it with the script named in its chapter."
        )
    return Stored(data, path.as_posix(), file.resolve())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Open the estimate of a Report's row into three columns that `frame` joins again."""
    kept = {name: value for name, value in row.items() if name != "estimate"}
    made = row.get("estimate")
    if isinstance(made, dict):
        kept.update(value=made.get("value"), value_low=made.get("low"), value_high=made.get("high"), n=made.get("n"))
    return kept


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 0.01 and value else f"{value:.3f}"
    return str(value)
