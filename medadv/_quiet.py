"""Run a user's model without leaving a trace in it."""

from __future__ import annotations

import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_MANY = 20_000
"""Values that are looked at before the search gives up."""
_LONG = 300
"""Members of a container that are looked at."""
_CLOSED = ("torch", "numpy", "builtins", "functools", "collections", "typing", "re", "PIL")
"""Packages whose values hold no model of the user."""
_FOREIGN = (*_CLOSED, "transformers", "open_clip", "timm", "medadv")
"""Packages whose code uses no model of the user by a global name."""
_CHILDREN = ("_parameters", "_buffers", "_modules")
_HOLDERS = (dict, OrderedDict, set)
_PLAIN = (Tensor, str, bytes, int, float, complex, torch.dtype, torch.device)


class Found(NamedTuple):
    """The modules behind a callable."""

    modules: tuple[nn.Module, ...]
    """Outermost first; a module inside a module is listed only where its owner does not know it as a child."""
    sure: bool
    """Whether everything that the callable can reach was looked at."""


@contextmanager
def quiet(*models) -> Iterator[None]:
    """Put models into eval mode for a while and give every part its own mode back afterwards.

    Shapes   none.
    Units    none.
    Returns  a context manager; of a function, a partial or any other callable the modules behind it are put into eval
             mode: in its closure, its arguments, its owner, the global names that it uses.
    Raises   nothing.
    Source   ours. Weights and their `requires_grad` stay as they are: freezing makes a ViT slower on CPU.
    """
    modules = modules_of(*models).modules
    before = [(part, part.training) for model in modules for part in model.modules()]
    try:
        for model in modules:
            model.eval()
        yield
    finally:
        for part, training in before:
            part.training = training


def modules_of(*calls: Any) -> Found:
    """Find the modules that callables run, wherever they keep them.

    Shapes   none.
    Units    none.
    Returns  Found.
    Raises   nothing; no code of the user runs.
    Source   ours; closures and globals as inspect.getclosurevars reads them.
    """
    found: dict[int, nn.Module] = {}
    known: set[int] = set()
    sure, left, looked = True, list(reversed(calls)), 0
    while left:
        value = left.pop()
        if id(value) in known or _plain(value):
            continue
        looked += 1
        if looked > _MANY:
            sure = False
            break
        known.add(id(value))
        if isinstance(value, nn.Module):
            parts = list(value.modules())
            known.update(map(id, parts))
            found.setdefault(id(value), value)
            for part in parts:
                left.extend(reversed(_held_by(part)))
            continue
        inner, whole = _inside(value)
        sure = sure and whole
        left.extend(reversed(inner))
    return Found(tuple(found.values()), sure)


def _plain(value: Any) -> bool:
    """A value that holds no module: a number, a text, a tensor, or a few of them, or an empty table of hooks."""
    if value is None or isinstance(value, _PLAIN):
        return True
    if type(value) in _HOLDERS:
        return not value
    if isinstance(value, (list, tuple)):
        return all(one is None or isinstance(one, _PLAIN) for one in value)
    return False


def _held_by(part: nn.Module) -> list[Any]:
    """What a module holds beside its children: functions and plain objects as attributes, names its code uses."""
    held = [value for name, value in vars(part).items() if name not in _CHILDREN and not _plain(value)]
    return held + _methods(type(part))


def _methods(kind: type) -> list[Any]:
    """The functions of a class of the user and of its bases."""
    bases = [base for base in kind.__mro__ if not _foreign(base.__module__)]
    return [one for base in bases for one in vars(base).values() if isinstance(one, types.FunctionType)]


def _inside(value: Any) -> tuple[list[Any], bool]:
    """What a value that is no module holds, and whether that is all."""
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__], True
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()], True
    if isinstance(value, types.FunctionType):
        return _used_by(value), True
    if isinstance(value, types.BuiltinFunctionType):  # the get of a dictionary
        return [value.__self__] if not isinstance(value.__self__, types.ModuleType) else [], True
    if isinstance(value, weakref.ref):
        return [value()], True
    if isinstance(value, Mapping):
        return list(value.values())[:_LONG], len(value) <= _LONG
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)[:_LONG], len(value) <= _LONG
    if isinstance(value, (type, types.ModuleType)):
        return [], True
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__], True
    kind = type(value)
    if kind.__module__.split(".")[0] in _CLOSED:  # a compiled function shows nothing of what it calls
        return [], not (callable(value) and kind.__module__.startswith(("torch.jit", "torch._C")))
    held = list(getattr(value, "__dict__", {}).values())
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        held += [getattr(value, slot, None) for slot in ([slots] if isinstance(slots, str) else slots)]
    return [*held, *_methods(kind)], not callable(value) or isinstance(kind.__call__, types.FunctionType)


def _used_by(function: types.FunctionType) -> list[Any]:
    """The closure of a function, its defaults, its attributes, and the global names that its code uses."""
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    if _foreign(function.__module__ or ""):
        return held
    names = sorted(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and not _foreign(value.__name__):  # helpers.net, helpers.predict
            held += [vars(value)[one] for one in names if one in vars(value)]
        else:
            held.append(value)
    return held


def _names(code: types.CodeType) -> set[str]:
    """Global names and attributes in a piece of code and in the functions it defines."""
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _foreign(module: str) -> bool:
    return module.split(".")[0] in _FOREIGN
