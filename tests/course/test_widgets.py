"""Headless, a widget is one call and one picture; live, it is controls around the same picture."""

from __future__ import annotations

import pytest
import torch

from medadv.course.figures import Figure
from medadv.course.widgets import explore, live


@pytest.fixture
def calls():
    return []


@pytest.fixture
def draw(calls):
    def function(**settings):
        calls.append(settings)
        return torch.zeros(1, 4, 4)

    return function


def test_nobody_sits_at_a_test(monkeypatch):
    monkeypatch.delenv("MEDADV_LIVE", raising=False)
    assert not live()
    monkeypatch.setenv("MEDADV_LIVE", "1")
    assert live()


def test_headless_calls_once_at_the_defaults(monkeypatch, calls, draw):
    monkeypatch.setenv("MEDADV_LIVE", "0")
    made = explore(draw, eps=["0", "4/255"], steps=[1, 10], alt="Black.", start={"steps": 10})
    assert calls == [{"eps": "0", "steps": 10}]
    assert isinstance(made, Figure)
    assert made.alt == "Black."


def test_description_may_depend_on_the_controls(monkeypatch, draw):
    monkeypatch.setenv("MEDADV_LIVE", "0")
    made = explore(draw, prompt=["a", "b"], image=[3], alt=lambda prompt, image: f"{prompt}, {image}")
    assert made.alt == "a, 3"


def test_live_makes_controls(monkeypatch, calls, draw):
    ipywidgets = pytest.importorskip("ipywidgets")
    monkeypatch.setenv("MEDADV_LIVE", "1")
    box = explore(draw, eps=[0, 1, 2], prompt=["a", "b"], alt="Black.")
    assert isinstance(box, ipywidgets.VBox)
    assert [child.description for child in box.children[:-1]] == ["eps", "prompt"]
    box.children[0].value = 2
    assert calls[-1] == {"eps": 2, "prompt": "a"}


@pytest.mark.parametrize("wrong", [{}, {"eps": []}])
def test_explore_wants_controls(draw, wrong):
    with pytest.raises(ValueError, match="controls of explore"):
        explore(draw, alt="Black.", **wrong)


def test_explore_wants_a_start_among_the_choices(draw):
    with pytest.raises(ValueError, match="'start' parameter of explore"):
        explore(draw, alt="Black.", eps=[1], start={"eps": 2})
