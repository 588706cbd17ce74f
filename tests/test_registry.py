from __future__ import annotations

import pytest

from medadv._registry import Registry, nearest


@pytest.fixture
def models() -> Registry[int]:
    registry: Registry[int] = Registry("model")
    for k, name in enumerate(["tiny", "BiomedCLIP", "PubMedCLIP", "plip", "openai-b32", "openai-b16"]):
        assert registry.register(name, k) == k
    return registry


def test_a_dictionary_in_the_order_of_registration(models):
    assert models.get("plip") == 3
    assert models.names() == list(models) == ["tiny", "BiomedCLIP", "PubMedCLIP", "plip", "openai-b32", "openai-b16"]
    assert models.names("openai-*") == ["openai-b32", "openai-b16"]
    assert "tiny" in models
    assert "none" not in models
    assert len(models) == 6


def test_a_wrong_name_offers_at_most_three_that_are_near(models):
    with pytest.raises(ValueError, match=r"There is no model named 'biomedclip'. Did you mean BiomedCLIP, PubMedCLIP"):
        models.get("biomedclip")
    with pytest.raises(ValueError, match="Did you mean tiny"):
        models.get("TINI")
    assert (
        nearest("openai", list(models))[:2] == ["openai-b32", "openai-b16"] or len(nearest("openai", list(models))) <= 3
    )
    assert nearest("zzzzzz", list(models)) == []
    with pytest.raises(ValueError, match="BiomedCLIP, PubMedCLIP, openai-b16"):
        models.get("zzzzzz")  # nothing is near: all of them


def test_a_name_is_given_once(models):
    with pytest.raises(ValueError, match="must be new; got 'tiny', a model already"):
        models.register("tiny", 9)
    assert models.get("tiny") == 0
