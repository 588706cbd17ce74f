"""Writing, verifying, caching and dealing tidy folders."""

from __future__ import annotations

import string

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tidy_folders import folder_of, picture

from medadv.data.tidy import cache, grouped_folds, read_tidy, verify_tidy, write_tidy
from medadv.data.tidy_write import save_picture


def test_cache_is_the_same_data(tmp_path):
    folder_of(tmp_path)
    pairs = read_tidy(tmp_path, size=8)
    kept = cache(pairs, progress=False)
    for i in range(len(pairs)):
        assert torch.equal(pairs.load(i)[0], kept.load(i)[0])
        assert torch.equal(pairs.load(i)[1], kept.load(i)[1])
    assert kept.rows == pairs.rows
    smaller = cache(pairs, size=4, progress=False).batch([1, 2])
    assert smaller.image.shape == (2, 3, 4, 4)
    assert smaller.mask.shape == (2, 1, 4, 4)


def test_cache_wants_one_size(tmp_path):
    folder_of(tmp_path, masks=False)
    save_picture(picture(9, (30, 30)), tmp_path / "images/4.png")
    with pytest.raises(ValueError, match="must be of one size to be cached"):
        cache(read_tidy(tmp_path), progress=False)


def test_write_then_read_then_verify(tmp_path):
    rows = folder_of(tmp_path)
    write_tidy(tmp_path, rows, classes={"cat": "a cat", "dog": "a dog"}, source="# Pets", progress=False)
    assert verify_tidy(tmp_path, progress=False) == []
    assert read_tidy(tmp_path).prompts == ("a cat", "a dog")
    assert (tmp_path / "SOURCE.md").read_text() == "# Pets\n"
    assert not list(tmp_path.glob(".writing-*"))
    save_picture(picture(99), tmp_path / "images/1.png")
    assert any("images/1.png has not the md5" in problem for problem in verify_tidy(tmp_path, progress=False))
    (tmp_path / "images/1.png").unlink()
    assert any("images/1.png" in problem for problem in verify_tidy(tmp_path, progress=False))


def test_verify_finds_what_cannot_be_decoded(tmp_path):
    rows = folder_of(tmp_path)
    (tmp_path / "images/1.png").write_bytes(b"broken")
    write_tidy(tmp_path, rows, progress=False)
    problems = verify_tidy(tmp_path, progress=False)
    assert len(problems) == 1
    assert "images/1.png cannot be decoded" in problems[0]


def test_nothing_is_written_for_bad_rows(tmp_path):
    rows = folder_of(tmp_path)
    before = (tmp_path / "metadata.csv").read_bytes()
    for wrong, sentence in [
        ([], "must be a list of rows"),
        ([{**rows[0], "image": "images/none.png"}], "does not exist"),
        ([{**rows[0], "label_id": "5"}], "label_id must be"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            write_tidy(tmp_path, wrong, progress=False)
    with pytest.raises(ValueError, match="must name every label; got no 'dog'"):
        write_tidy(tmp_path, rows, classes={"cat": "a cat"}, progress=False)
    assert (tmp_path / "metadata.csv").read_bytes() == before
    assert not (tmp_path / "MD5SUMS").exists()


letters = st.text("abcdé", min_size=1, max_size=8)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(words, letters), min_size=1, max_size=5))
@example([("NA", "a"), (" nan", "b"), ("None", "c"), ("none", "d"), ("na na", "e")])
def test_round_trip_of_any_text(tmp_path, cells):
    for i in range(len(cells)):
        if not (tmp_path / f"{i}.png").exists():
            save_picture(picture(i), tmp_path / f"{i}.png")
    rows = [{"image": f"{i}.png", "label": label, "caption": text} for i, (text, label) in enumerate(cells)]
    write_tidy(tmp_path, rows, progress=False)
    pairs = read_tidy(tmp_path)
    blank = {"", "None", *"NaN nan NA na Na nA N/A n/a NULL null NaT nat #N/A <NA>".split()}  # what programs write
    assert [row.captions for row in pairs.rows] == [() if text.strip() in blank else (text,) for text, _ in cells]
    assert [pairs.classes[k] for k in pairs.labels] == [label for _, label in cells]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(6, 40), st.integers(1, 4))
def test_folds_never_part_a_patient(seed, k, patients, classes):
    from medadv.data.pairs import Pairs, Row

    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        for _ in range(rng.integers(1, 5)):
            twin = {"dup_group": str(rng.integers(3))} if rng.random() < 0.1 else {}
            rows.append(Row(int(rng.integers(classes)), (), f"p{patient}", twin))
    pairs = Pairs("made", tuple(string.ascii_lowercase[:classes]), tuple(rows), lambda i: None)
    together = len(set(pairs.patients)) - 6  # at most three groups of twins bind patients together
    if together < k:
        return
    fold = grouped_folds(pairs, k=k, seed=seed)
    assert fold.dtype == torch.int64
    assert set(fold.tolist()) <= set(range(k))
    for key in ("patient", "twin"):
        seen: dict[str, set[int]] = {}
        for row, number in zip(rows, fold.tolist(), strict=True):
            name = row.patient if key == "patient" else row.attributes.get("dup_group")
            if name is not None:
                seen.setdefault(name, set()).add(number)
        assert all(len(numbers) == 1 for numbers in seen.values())
    assert torch.equal(fold, grouped_folds(pairs, k=k, seed=seed))


def test_folds_want_enough_patients(tmp_path):
    folder_of(tmp_path)
    with pytest.raises(ValueError, match="from 2 to the number of patients, 6; got 7"):
        grouped_folds(read_tidy(tmp_path), k=7)
    assert grouped_folds(read_tidy(tmp_path), k=3).bincount().tolist() == [2, 2, 2]
