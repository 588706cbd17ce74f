"""Imports go downwards only: the floors of the package, held by reading every import.

| floor | modules | may use |
| 0 | types and the private modules in medadv/ (FLOORS names them) | nothing else of ours |
| 1 | threat | floor 0 |
| 2 | objective; models; data | floors 0-1; none of the three imports another |
| 3 | attacks; certify | threat, objective, floor 0; certify also models.prompt and models.head |
| 4 | train; evaluate (numbers) | floors 0-3 |
| 5 | reports | floors 0-4 |
| 6 | course, cli | everything |

Within a room (models, data, train, ...) modules may use each other. Imports for the type checker are free.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The longest prefix decides. The package itself holds a version and late imports: everybody may ask for them.
FLOORS = {
    "medadv": 0,
    **dict.fromkeys(["types", "_registry", "_images", "_labels", "_quiet", "_device", "_resume", "_provenance"], 0),
    **dict.fromkeys(["_words", "_resample", "_atomic"], -1),
    **dict.fromkeys(["_protected", "_alike", "_finite"], 0),
    "_fingerprint": 0,
    "_lock": 0,
    "_l1": 0,
    "_random": 0,
    "threat": 1,
    **dict.fromkeys(["objective", "models", "data"], 2),
    **dict.fromkeys(["attacks", "certify"], 3),
    **dict.fromkeys(["train", "evaluate"], 4),
    "reports": 5,
    **dict.fromkeys(["course", "cli", "__main__"], 6),
}
ATTACKS_MAY, CERTIFY_MAY = {"threat", "objective"}, {"threat", "objective", "models.prompt", "models.head"}


def modules(root: Path = ROOT) -> dict[str, Path]:
    found = {}
    for path in sorted((root / "medadv").rglob("*.py")):
        parts = path.relative_to(root / "medadv").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "medadv"] = path
    return found


def floor(module: str) -> int | None:
    parts = module.split(".")
    prefixes = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
    return next((FLOORS[prefix] for prefix in prefixes if prefix in FLOORS), None)


def room(module: str) -> str:
    return module.split(".")[0]


def imports(source: str, module: str, known: set[str], package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and module of every import of ours, late ones too; `from medadv.data import x` may be a module."""
    tree = ast.parse(source)
    free = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for part in test.body
        for node in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in free:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["medadv", *module.split(".")]
                parts = parts[: len(parts) - node.level + package]
                base = ".".join([*parts, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != "medadv":
                continue
            inner = name.removeprefix("medadv").lstrip(".")
            while inner and inner not in known:  # a name inside a module
                inner = inner.rpartition(".")[0]
            yield node.lineno, inner or "medadv"


def allowed(here: str, there: str) -> bool:
    if there == "medadv" or here == "medadv" or (room(here) == room(there) and floor(there) <= floor(here)):
        return True
    if floor(here) == 3:
        return floor(there) <= 0 or there in (CERTIFY_MAY if room(here) == "certify" else ATTACKS_MAY)
    return floor(there) < floor(here) or floor(here) == 6


def offenders(root: Path = ROOT) -> list[str]:
    known = modules(root)
    return [
        f"{path.relative_to(root)}:{line}: {here} (floor {floor(here)}) imports {there} (floor {floor(there)})"
        for here, path in known.items()
        for line, there in imports(path.read_text(encoding="utf-8"), here, set(known), path.stem == "__init__")
        if not allowed(here, there)
    ]


def test_every_module_has_a_floor():
    assert [name for name in modules() if floor(name) is None] == [], "give the module a floor in tests/test_layers.py"


def test_imports_go_downwards_only():
    assert offenders() == []


def test_the_test_sees_what_it_should(tmp_path):
    bad = {
        "types.py": "from medadv import threat",
        "threat.py": "def f():\n    from .models import vlm",
        "models/__init__.py": "",
        "models/vlm.py": "import medadv.data.pairs",
        "data/__init__.py": "from .pairs import x\nfrom medadv.types import Batch",
        "data/pairs.py": "if TYPE_CHECKING:\n    from medadv.models import vlm",
        "attacks/__init__.py": "from medadv.models.head import ZeroShot\nfrom medadv import objective",
        "certify/__init__.py": "from medadv.models.head import ZeroShot",
        "models/head.py": "from .. import objective",
        "objective.py": "from medadv import __version__",
        "evaluate/__init__.py": "from medadv.reports import Report",
        "reports/__init__.py": "from medadv.train import x",
        "reports/report.py": "from medadv.evaluate import x",
        "train/__init__.py": "",
        "cli.py": "from medadv import train, data\nimport medadv.reports.report",
    }
    for name, source in bad.items():
        (tmp_path / "medadv" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "medadv" / name).write_text(source)
    found = [line.split(": ")[1] for line in offenders(tmp_path)]
    assert found == [
        "attacks (floor 3) imports models.head (floor 2)",
        "evaluate (floor 4) imports reports (floor 5)",
        "models.head (floor 2) imports objective (floor 2)",
        "models.vlm (floor 2) imports data.pairs (floor 2)",
        "threat (floor 1) imports models.vlm (floor 2)",
        "types (floor 0) imports threat (floor 1)",
    ]
