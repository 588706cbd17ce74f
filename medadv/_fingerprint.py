"""Short hashes that tell models, functions and images from one another, so that a kept result is only used for itself.

What cannot be read (an open file, a random generator, a handle of another library) has no fingerprint of its own. Its
owner then gives one: a text in the attribute `fingerprint`, which stands for all its state but the tensors.
"""

from __future__ import annotations

import dis
import enum
import hashlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_MODELS = {"torch", "torchvision", "open_clip", "timm", "transformers", "peft", "monai"}
"""Libraries of layers: what is no number or text on their modules is configuration that the weights show already."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_TORCH = {*vars(nn.Module()), "name_or_path"}
_RANDOM = (torch.Generator, np.random.Generator, np.random.RandomState)
_FIRST_PLACE = {
    **{f"medadv.certify.test_time.{name}": "medadv.certify.adapt" for name in ("Composed", "Inside", "Routed")},
    "medadv.certify.test_time.TestTime": "medadv.certify.promptsmooth",
    **{f"medadv.train.smoothing.{name}": "medadv.train.noisy" for name in ("Denoised", "Denoiser")},
}
"""Where version 0.1.0 had classes of heads that have moved since: the logs it wrote know them by it."""


class Unreadable(Exception):
    """Something without a fingerprint; the message says where it was found."""


def digest(value: Any, *, skip: Sequence[Any] = ()) -> str:
    """Hash a value: numbers, texts, tensors, collections, functions with what they refer to, modules with weights.

    Shapes   none.
    Units    none.
    Returns  12 hexadecimal digits, the same in every process; `skip` holds things that count as known.
    Raises   Unreadable for what cannot be told from another of its kind.
    Source   ours: blake2b over a walk in fixed order; functions by their bytecode, constants, closures and globals.
    """
    walk = _Walk(skip)
    walk.feed(value, "it")
    return walk.told.hexdigest()


def told_apart(value: Any, *, name: str, where: str, what: str, skip: Sequence[Any] = ()) -> str:
    """Hash what decides a kept result, or ask its owner for a name.

    Shapes   none.
    Units    none.
    Returns  as digest.
    Raises   ValueError that names the parameter `name` of the function `where`, and the remedy.
    Source   ours.
    """
    try:
        return digest(value, skip=skip)
    except Unreadable as error:
        raise ValueError(
            f"The '{name}' parameter of {where} must be told from others before its results are kept in a file; "
            f"{what} holds {error}, which has no fingerprint. Write a text into its attribute 'fingerprint' that names "
            "what decides its answers, or keep no file."
        ) from None


def image_mark(image: Tensor) -> str:
    """Hash the content of an image.

    Shapes   any.
    Units    none.
    Returns  12 hexadecimal digits, those of the image in float32 whatever it was given in.
    Raises   nothing.
    Source   ours.
    """
    return digest(image.detach().to("cpu", torch.float32))


class _Walk:
    def __init__(self, skip: Sequence[Any] = ()):
        self.told = hashlib.blake2b(digest_size=6)
        self.seen = {id(one): number for number, one in enumerate(skip)}
        self.kept: list[Any] = list(skip)  # so that no id is given twice

    def say(self, *words: object) -> None:
        self.told.update("\0".join(map(str, words)).encode("utf-8", "surrogatepass") + b"\1")

    def feed(self, value: Any, place: str, *, plain: bool = True) -> None:
        """Take in a value; with plain=False, of modules only the tensors."""
        if isinstance(value, _PLAIN):
            self.say(type(value).__name__, repr(value))
        elif isinstance(value, Tensor):
            self._tensor(value, place)
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value), place)
        elif isinstance(value, torch.dtype | np.dtype | torch.layout | torch.memory_format | range | slice):
            self.say("value", value)
        elif isinstance(value, torch.device):
            self.say("device")  # where a head lies does not decide what it says
        elif id(value) in self.seen:
            self.say("again", self.seen[id(value)])
        else:
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)
            self._thing(value, place, plain)

    def _thing(self, value: Any, place: str, plain: bool) -> None:
        if isinstance(value, nn.Module):
            self._module(value, place, plain)
        elif isinstance(value, enum.Enum):
            self.say("enum", type(value).__qualname__, value.name)
        elif isinstance(value, Mapping):
            self.say(type(value).__name__, len(value))
            for key in sorted(value, key=lambda one: (type(one).__name__, repr(one))):
                self.feed(key, place)
                self.feed(value[key], f"{place}[{key!r}]")
        elif isinstance(value, set | frozenset):
            self.say("set", *sorted(digest(one) for one in value))
        elif isinstance(value, re.Pattern):
            self.say("pattern", value.pattern, value.flags)
        elif isinstance(value, list | tuple):
            self.say(type(value).__name__, len(value))
            for number, one in enumerate(value):
                self.feed(one, f"{place}[{number}]")
        elif isinstance(value, Path | ModuleType | logging.Logger):
            self.say(type(value).__name__, getattr(value, "__name__", None) or getattr(value, "name", value))
        elif isinstance(value, type):
            self._class(value, place)
        elif callable(value) and self._function(value, place):
            pass
        else:
            self._object(value, place)

    def _tensor(self, value: Tensor, place: str) -> None:
        flat = value.detach()
        if flat.layout != torch.strided or flat.is_quantized or flat.is_meta:
            raise Unreadable(f"a {flat.layout} tensor at {place}")
        flat = flat.cpu().contiguous().reshape(-1)
        self.say("tensor", flat.dtype, *value.shape)
        if flat.numel():
            self.told.update(flat.view(torch.uint8).numpy().data)

    def _array(self, value: np.ndarray, place: str) -> None:
        if value.dtype.hasobject:
            self.feed(value.tolist(), place)
        else:
            self.say("array", value.dtype, *value.shape)
            self.told.update(np.ascontiguousarray(value).tobytes())

    def _module(self, module: nn.Module, place: str, plain: bool) -> None:
        root = type(module).__module__.split(".")[0]
        self.say("module", type(module).__qualname__)
        given = getattr(module, "fingerprint", None)
        if plain and not isinstance(given, str):
            self._class(type(module), place)
            self._attributes(module, place, known=root in _MODELS)
        elif plain:
            self.say("named", given)
            plain = False
        for kind, named in (("parameter", module._parameters), ("buffer", module._buffers)):
            for name, value in sorted(named.items()):
                self.say(kind, name)
                self.feed(value, f"{place}.{name}")
        for name, part in sorted(module._modules.items()):
            self.say("part", name)
            self.feed(part, f"{place}.{name}", plain=plain)

    def _attributes(self, module: nn.Module, place: str, *, known: bool) -> None:
        """What a module is beside its weights; of library modules what is plain, for the rest shows in the weights."""
        left_out = {*_OF_TORCH, *getattr(type(module), "not_in_fingerprint", ())}
        for name, value in sorted(vars(module).items()):
            if name in left_out or (known and not _flat(value)):
                continue
            self.say("attribute", name)
            self.feed(value, f"{place}.{name}")
        for name in _HOOKS:
            for hook in getattr(module, name).values():
                self.feed(hook, f"a hook of {place}")

    def _class(self, kind: type, place: str) -> None:
        module = _FIRST_PLACE.get(f"{kind.__module__}.{kind.__qualname__}", kind.__module__)
        self.say("class", module, kind.__qualname__)
        for parent in kind.__mro__:
            if _installed(parent.__module__):
                continue
            for name, value in sorted(vars(parent).items()):
                value = getattr(value, "__func__", value)
                value = value.fget if isinstance(value, property) else value
                if isinstance(value, FunctionType) or (_flat(value) and not name.startswith("__")):
                    self.say("class has", name)
                    self.feed(value, f"{place}.{name}")

    def _function(self, value: Any, place: str) -> bool:
        """Take in a function; False where it is an object that can be called."""
        given = getattr(value, "fingerprint", None)
        if isinstance(given, str):
            self.say("named", given)
        elif isinstance(value, partial):
            for part in (value.func, value.args, value.keywords):
                self.feed(part, place)
        elif isinstance(value, MethodType):
            self.feed(value.__func__, place)
            self.feed(value.__self__, place)
        elif isinstance(value, BuiltinFunctionType):
            owner = value.__self__
            self.say("builtin", value.__module__, value.__qualname__)
            if owner is not None and not isinstance(owner, ModuleType):
                self.feed(owner, place)
        elif isinstance(value, FunctionType):
            self.say("function", value.__module__, value.__qualname__)
            self.feed(getattr(value, "__wrapped__", None), place)
            if not _installed(value.__module__):
                self._code(value.__code__)
            # What a closure holds decides, whoever wrote the function.
            for cell in value.__closure__ or ():
                self.feed(_held(cell), f"the closure of {value.__qualname__}")
            self.feed([value.__defaults__, value.__kwdefaults__], f"the defaults of {value.__qualname__}")
            for name in [] if _installed(value.__module__) else sorted(set(_globals(value.__code__))):
                self.say("global", name)
                self.feed(value.__globals__.get(name), f"the global {name}")
        else:
            return False
        return True

    def _code(self, code: CodeType) -> None:
        self.say("code", code.co_code.hex(), *code.co_names, *code.co_freevars)
        for one in code.co_consts:
            self._code(one) if isinstance(one, CodeType) else self.feed(one, "a constant")

    def _object(self, value: Any, place: str) -> None:
        given = getattr(value, "fingerprint", None)
        state = getattr(value, "__dict__", None)
        if isinstance(given, str):
            self.say("named", type(value).__qualname__, given)
        elif isinstance(value, _RANDOM) or state is None or hasattr(value, "__next__"):
            raise Unreadable(f"a {type(value).__name__} ({place})")
        else:
            self._class(type(value), place)
            slots = {name: getattr(value, name, None) for name in getattr(type(value), "__slots__", ()) or ()}
            self.feed({**state, **slots}, place)


def _flat(value: Any) -> bool:
    """Whether it is plain, or a collection of what is."""
    if isinstance(value, list | tuple):
        return all(_flat(one) for one in value)
    return isinstance(value, (*_PLAIN, torch.dtype))


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is bound later
        return None


def _globals(code: CodeType) -> Iterator[str]:
    """Names of the globals that a function and those inside it read."""
    yield from (one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _globals(one)


def _installed(module: str | None) -> bool:
    """Whether code comes from this package, a library or Python itself: its name and version say what it does."""
    root = (module or "builtins").split(".")[0]
    if root == "__main__":
        return False
    if root == "medadv" or root in _MODELS or root in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
