"""The table of sources, and the phrases for known classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medadv.data.sources import SOURCES, describe, phrases, sources


def test_the_table_is_whole():
    assert len({(row.name, row.file, row.url) for row in SOURCES}) == len(SOURCES)
    for row in SOURCES:
        assert row.url.startswith("https://")
        assert row.access in ("open", "form")
        assert (row.file == "") == (row.access == "form")
        assert row.licence
        assert row.citation
        text = describe([row])
        assert row.url in text
        assert ("UNCHECKED" in text) == (not row.checked)
    assert [row.file for row in sources("hannover_cxr")] == ["covid-19-image-repository.zip"]
    with pytest.raises(ValueError, match="Did you mean isic2017"):
        sources("isic2018")


@given(st.lists(st.text("abc_", min_size=1), unique=True))
def test_phrases_have_no_underscores(names):
    made = phrases(names)
    assert len(made) == len(names)
    assert not any("_" in text for text in made)


def test_phrases_of_known_sets():
    assert phrases(("icu", "non_icu"))[0] == "a patient treated in the intensive care unit"
    assert phrases(("normal", "pneumonia")) == ("normal", "pneumonia")
