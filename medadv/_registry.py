"""Names to things, for the edges of the package (command line, evaluate): a wrong name offers the nearest ones."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Generic, TypeVar

T = TypeVar("T")


def nearest(name: str, known) -> list[str]:
    """Return at most three known names that look like `name`, best first; upper and lower case are the same.

    Shapes   none.
    Units    none.
    Returns  list of str, empty where nothing is near.
    Raises   nothing.
    Source   difflib of the standard library.
    """
    lower = {k.lower(): k for k in known}
    hits = get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    return [lower[hit] for hit in hits]


class Registry(Generic[T]):
    """A dictionary with an error message."""

    def __init__(self, kind: str):
        self.kind = kind
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing under a name that is not yet taken, and return it."""
        if name in self._things:
            raise ValueError(f"The 'name' parameter of register must be new; got {name!r}, a {self.kind} already.")
        self._things[name] = thing
        return thing

    def get(self, name: str) -> T:
        """Return the thing, or raise ValueError with the three nearest names."""
        if name not in self._things:
            near = nearest(name, self._things) or sorted(self._things)
            raise ValueError(f"There is no {self.kind} named {name!r}. Did you mean {', '.join(near)}?")
        return self._things[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names that match a shell pattern, in the order of registration."""
        return [name for name in self._things if fnmatch(name, pattern)]

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
