"""medadv models: which models have a name."""

from __future__ import annotations

from medadv.cli import options as o
from medadv.cli import show
from medadv.cli.options import plain_errors


@plain_errors
def models(pattern: o.Pattern = "*", *, debug: o.Debug = False) -> None:
    """List the models that have a name."""
    from medadv.models import CARDS, names

    found = names(pattern)
    if not found:
        CARDS.get(pattern)  # says which names are near
    show.show_models([CARDS.get(name) for name in found], console=show.console())
