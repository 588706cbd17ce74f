"""Figures a reader can move: live in a notebook with somebody at it, one still picture everywhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from medadv.course.figures import Figure, show


def live() -> bool:
    """Say whether somebody sits at this notebook.

    Shapes   none.
    Units    none.
    Returns  True if the cell was sent by a front end that can answer questions (JupyterLab, VS Code, Colab);
             False in nbval, nbclient, a script or a test. The environment variable MEDADV_LIVE (0 or 1)
             overrules.
    Raises   nothing.
    Source   ours; Jupyter's messaging protocol, execute_request, `allow_stdin`.
    """
    wish = os.environ.get("MEDADV_LIVE")
    if wish in ("0", "1"):
        return wish == "1"
    try:
        from IPython import get_ipython

        kernel = getattr(get_ipython(), "kernel", None)
        return bool(kernel.get_parent("shell")["content"].get("allow_stdin")) if kernel else False
    except (ImportError, KeyError, TypeError, LookupError):
        return False


def explore(
    function: Callable,
    *,
    alt: str | Callable[..., str],
    eps: Sequence | None = None,
    steps: Sequence | None = None,
    prompt: Sequence[str] | None = None,
    image: Sequence | None = None,
    start: dict[str, Any] | None = None,
    caption: str | None = None,
):
    """Let the reader change eps, steps, prompt or image and see what `function` draws.

    Shapes   every control is a list of choices; `function` takes the given ones by name.
    Units    whatever the choices mean to `function`; eps customarily as "4/255".
    Returns  headless: the Figure at the first choices (or `start`), the function being called exactly once
             and no widget made. Live: an ipywidgets box with the same figure under its controls.
    Raises   ValueError if no control is given or `start` names a value that is not among the choices.
    Source   ours.
    """
    given = {"eps": eps, "steps": steps, "prompt": prompt, "image": image}
    choices = {name: list(values) for name, values in given.items() if values is not None}
    if not choices or not all(choices.values()):
        sizes = {name: len(values) for name, values in choices.items()}
        raise ValueError(
            f"The controls of explore must be lists with at least one choice; got {sizes}. "
            "Give eps=, steps=, prompt= or image=."
        )
    first = {name: values[0] for name, values in choices.items()}
    for name, value in (start or {}).items():
        if value not in choices.get(name, []):
            raise ValueError(
                f"The 'start' parameter of explore must pick among {sorted(choices)}; got {name}={value!r}. "
                f"The choices are {choices.get(name)}."
            )
        first[name] = value
    if not live():
        return _draw(function, alt, caption, first)
    return _box(function, alt, caption, choices, first)


def _draw(function, alt, caption, settings) -> Figure:
    made = function(**settings)
    words = alt(**settings) if callable(alt) else alt
    return made if isinstance(made, Figure) else show(made, alt=words, caption=caption)


def _box(function, alt, caption, choices, first):
    import ipywidgets
    from IPython.display import display

    def control(name, values):
        options = {"options": values, "value": first[name], "description": name}
        if name == "prompt":
            return ipywidgets.Dropdown(**options)
        return ipywidgets.SelectionSlider(continuous_update=False, **options)

    controls = {name: control(name, values) for name, values in choices.items()}
    picture = ipywidgets.interactive_output(
        lambda **settings: display(_draw(function, alt, caption, settings)), controls
    )
    return ipywidgets.VBox([*controls.values(), picture])
