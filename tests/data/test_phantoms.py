"""What the phantom data set promises: every sample stands alone, and every caption is true."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from medadv.data.phantoms import ATTRIBUTES, MODALITIES, Controls, phantoms, scene

PROTECTED = re.compile(
    r"\b(female|male|wom[ae]n|m[ae]n|boy|girl|lady|gentleman|she|he|hers?|his|"
    r"aged?|old|older|young|younger|elderly|"
    r"adult|child|years?|under.50|50.and.over|pigmentation|pigmented|complexion|ethnic\w*|race|racial|"
    r"black|white|asian|african|caucasian|"
    r"(fair|light|dark|brown|pale|medium)[- ]?(skin(ned)?|toned?|fundus)|skin (colou?r|tone|type))\b",
    re.IGNORECASE,
)
# Words that tell one finding from the others of its modality; the reference class is told by none of them.
SIGNS = {
    "chest": {
        "opacity": "opacit", "effusion": "effusion|fluid|meniscus|blunting",
        "cardiomegaly": "cardiomegaly|cardiac enlargement|enlarged heart", "nodule": "nodul",
    },
    "fundus": {"glaucoma": "glaucom", "haemorrhages": "haemorrhage|bleeding", "exudates": "exudate|lipid"},
    "histology": {"tumour": "tumour|carcinoma|atypia", "lymphocytes": "lymphocyt|lymphoid"},
    "dermoscopy": {"naevus": "naevus|mole", "melanoma": "melanoma|malignant", "keratosis": "keratosis"},
    "ultrasound": {"benign": "benign", "malignant": "malignant"},
    "endoscopy": {"polyp": "polyp"},
}  # fmt: skip


def told(modality: str, caption: str) -> set[str]:
    """The findings a caption speaks of, except those it denies."""
    affirmed = re.sub(r"\bno [\w-]+( [\w-]+)?", "", caption.lower())
    found = {finding for finding, words in SIGNS[modality].items() if re.search(words, affirmed)}
    return found or {next(iter(MODALITIES[modality].PROMPTS))}


def same(a, b, i, j) -> None:
    assert a.rows[i] == b.rows[j]
    for one, other in zip(a.load(i), b.load(j), strict=True):
        assert torch.equal(one, other)


def test_sample_i_depends_on_seed_and_i_alone():
    long, short, late = phantoms(14, seed=3), phantoms(4, seed=3), phantoms(6, seed=3, start=8)
    for i in (3, 0, 2, 1):  # in another order than made
        same(long, short, i, i)
    for i in range(6):
        same(long, late, 8 + i, i)
    same(long, phantoms(14, seed=3).select([5, 11]), 11, 1)
    assert phantoms(14, seed=4).rows != long.rows
    assert phantoms(14, seed=3, size=96).rows == long.rows
    assert not torch.equal(long.load(0)[0], long.load(1)[0])


def test_making_phantoms_leaves_the_global_streams_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    phantoms(6, controls=Controls(appearance=1.0, shortcut=1.0)).batch(range(6), seed=1)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(("size", "n"), [(32, 40), (65, 30), (512, 8)])
def test_pictures_and_masks_of_every_size(size, n):
    pairs = phantoms(n, seed=1, size=size)
    for i, row in enumerate(pairs.rows):
        image, mask = pairs.load(i)
        assert image.shape == (3, size, size)
        assert mask.shape == (1, size, size)
        assert image.dtype == mask.dtype == torch.float32
        assert image.isfinite().all()
        assert 0 <= image.min() < image.max() <= 1
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert bool(mask.any()) == (not pairs.classes[row.label].endswith("/normal"))


def test_one_scene_at_every_size():
    small, large = phantoms(30, seed=2), phantoms(30, seed=2, size=192)
    for i in range(30):
        pooled = torch.nn.functional.avg_pool2d(large.load(i)[0], 3)
        pair = torch.stack([small.load(i)[0].flatten(), pooled.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.85, large.rows[i].name


def test_classes_prompts_and_domains():
    pairs = phantoms(2000, seed=5)
    assert len(pairs.classes) == len(set(pairs.classes)) == len(set(pairs.prompts)) == len(pairs.domains) == 20
    assert [name.split("/")[0] for name in pairs.classes] == list(pairs.domains)
    assert (torch.bincount(pairs.labels, minlength=20) > 60).all()
    part = phantoms(60, seed=5, modalities=("fundus", "endoscopy"))
    assert part.classes[:4] == tuple(f"fundus/{name}" for name in MODALITIES["fundus"].PROMPTS)
    assert set(part.domains) == {"fundus", "endoscopy"}
    assert part.labels.max() < len(part.classes) == 6


def test_rows_say_all_that_is_known():
    pairs = phantoms(400, seed=6)
    for i, row in enumerate(pairs.rows):
        assert {k: row.attributes[k] in v for k, v in ATTRIBUTES.items()} == dict.fromkeys(ATTRIBUTES, True)
        assert 0 <= row.severity <= 1
        if pairs.classes[row.label].endswith("/normal"):
            assert row.severity == 0
        assert row.patient == f"p{i // 2:06d}"
        if i % 2:
            assert row.attributes == pairs.rows[i - 1].attributes
            assert row.name != pairs.rows[i - 1].name
    for attribute, values in ATTRIBUTES.items():
        numbers, names = pairs.groups(attribute)
        assert names == tuple(sorted(values))
        shares = torch.bincount(numbers) / 400
        assert ((shares - 1 / len(values)).abs() < 0.12).all()
    assert pairs.batch([0, 1]).group is not None


def test_captions_are_many_true_and_silent_about_the_patient():
    seen: dict[str, set[str]] = {}
    pairs = phantoms(2000, seed=7)
    for row in pairs.rows:
        modality, finding = pairs.classes[row.label].split("/")
        assert len(set(row.captions)) == len(row.captions) >= 5
        for caption in row.captions:
            assert not PROTECTED.search(caption), caption
            assert told(modality, caption) == {finding}, (finding, caption)
            assert re.fullmatch(r"[A-Z].*\.", caption), caption
            assert not re.search(r"  | ,| \.|\ba [aeio]|\ban [^aeiouhH]", caption), caption
            seen.setdefault(f"{modality}/{finding}", set()).add(caption)
    assert len(seen) == 20
    assert min(map(len, seen.values())) > 50, "the captions of a class are not one sentence"


@pytest.mark.parametrize(("one", "other"), [("female", "male"), ("under_50", "50_and_over"), ("light", "dark")])
def test_findings_and_captions_do_not_depend_on_who_the_patient_is(one, other):
    first, second = (phantoms(150, seed=8, controls=Controls(shares={who: 1.0})) for who in (one, other))
    attribute = next(name for name, values in ATTRIBUTES.items() if one in values)
    for a, b in zip(first.rows, second.rows, strict=True):
        assert a.attributes[attribute] == one
        assert b.attributes[attribute] == other
        assert (a.label, a.captions, a.severity) == (b.label, b.captions, b.severity)
    different = [not torch.equal(first.load(i)[0], second.load(i)[0]) for i in range(12)]
    assert all(different) if attribute == "appearance" else not any(different)


def test_bad_calls_are_refused():
    for bad, sentence in [
        ({"n": -1}, "must not be negative; got -1"),
        ({"n": 1, "start": -2}, "must not be negative"),
        ({"n": 1, "size": 16}, "from 32 to 512; got 16. Resize afterwards"),
        ({"n": 1, "size": 1024}, "from 32 to 512"),
        ({"n": 1, "modalities": ("ct",)}, r"must be among \['chest', .*got \('ct',\)"),
        ({"n": 1, "modalities": ()}, "must be among"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            phantoms(**bad)
    assert len(phantoms(0)) == 0


def test_words_can_be_left_out_and_nothing_else_changes():
    how = {"seed": 9, "modalities": tuple(MODALITIES), "controls": Controls(shortcut=0.5, caption_error=0.5)}
    for i in range(20):
        whole, mute = scene(i, **how), scene(i, **how, words=False)
        assert mute.row.captions == ()
        assert (whole.row.label, whole.row.attributes, whole.marker) == (
            mute.row.label,
            mute.row.attributes,
            mute.marker,
        )
