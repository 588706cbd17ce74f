"""The public names of the package and their arguments, locked.

A change here changes what people's scripts call. If it is meant, remake the list and commit it with it:

    python tests/test_api_surface.py --write
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("api_surface.json")


def arguments(node: ast.FunctionDef) -> list[str]:
    """Names in order; a star stands before those that must be named, a question mark behind the optional."""
    args = node.args
    plain = [a.arg for a in (*args.posonlyargs, *args.args)]
    first_optional = len(plain) - len(args.defaults)
    names = [name + "?" * (k >= first_optional) for k, name in enumerate(plain)]
    if args.vararg or args.kwonlyargs:
        names.append(f"*{args.vararg.arg if args.vararg else ''}")
    names += [a.arg + "?" * (d is not None) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        names.append(f"**{args.kwarg.arg}")
    return [name for name in names if name not in ("self", "cls")]


def names_of(body: list[ast.stmt]) -> dict:
    """Functions with their arguments, classes with what is in them, constants and fields with nothing."""
    found: dict = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = arguments(node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = names_of(node.body)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: None for target in targets if isinstance(target, ast.Name)}
    return {name: value for name, value in found.items() if not name.startswith("_") or name == "__init__"}


def surface() -> dict[str, dict]:
    found = {}
    for path in sorted((ROOT / "medadv").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") for part in parts):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = names_of(tree.body)
        for node in tree.body:  # what a package hands on is public too
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                handed = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
                names |= {name: "handed on" for name in handed if name not in names}
        found[".".join(parts)] = dict(sorted(names.items()))
    import medadv

    found["medadv"] = dict.fromkeys(sorted(medadv.__all__), "handed on")
    return {name: names for name, names in found.items() if names}


def differences(old: dict, new: dict) -> list[str]:
    lines = []
    for module in sorted({*old, *new}):
        before, after = old.get(module, {}), new.get(module, {})
        for name in sorted({*before, *after}):
            if name not in after:
                lines.append(f"- {module}.{name}")
            elif name not in before:
                lines.append(f"+ {module}.{name}")
            elif before[name] != after[name]:
                lines.append(f"! {module}.{name}: {before[name]} -> {after[name]}")
    return lines


def test_the_public_names_are_those_of_the_list():
    changed = differences(json.loads(LIST.read_text(encoding="utf-8")), surface())
    assert not changed, "\n".join(["meant? then: python tests/test_api_surface.py --write", *changed])


def test_every_name_handed_on_is_there():
    import importlib

    for module, names in surface().items():
        home = importlib.import_module(module)
        assert [name for name in names if not hasattr(home, name)] == [], module


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    LIST.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {LIST.name}: {sum(map(len, surface().values()))} names")
