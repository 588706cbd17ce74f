"""Label functions: every caption of 2,000 phantoms is read as it was meant, minimal pairs differ, synonyms agree."""

from __future__ import annotations

import pytest

from medadv._protected import _AXES
from medadv._words import put_word, read_lexicon, replacements
from medadv.data import load
from medadv.data.phantoms._scene import MODALITIES, Controls, scene
from medadv.data.text_labels import phantom_meaning, report_meaning


@pytest.fixture(scope="module")
def rows():
    data = load("phantoms", n=2000)
    return [(data.classes[row.label], row.captions) for row in data.rows]


def test_every_caption_is_read_as_its_class(rows):
    for truth, captions in rows:
        for caption in captions:
            meaning = phantom_meaning(caption)
            assert {one.name for one in meaning.findings if one.present} == {truth}, caption
            assert truth not in {one.name for one in meaning.findings if not one.present}, caption
            assert meaning.modality in ((), (truth.split("/")[0],)), caption


def test_the_captions_of_one_image_agree(rows):
    for truth, captions in rows:
        found = [one for c in captions for one in phantom_meaning(c).findings if one.name == truth]
        for field, unsaid in (("number", {"", "several"}), ("size", {""}), ("severity", {""})):
            assert len({getattr(one, field) for one in found} - unsaid) <= 1, captions


def test_what_is_read_are_the_facts():
    for i in range(300):
        made = scene(i, seed=5, modalities=tuple(MODALITIES), controls=Controls())
        facts = MODALITIES[made.modality].describe(made.params)
        meaning = phantom_meaning(made.row.captions[0])  # the first caption says everything
        (found,) = [one for one in meaning.findings if one.present]
        if facts.positive:
            assert (found.size, found.severity) == (facts.size, facts.severity)
            assert (found.number not in ("", "several")) == (1 < facts.count < 7)
            said = set(made.row.captions[0].lower().rstrip(".").split())
            assert set(meaning.place) >= said & {"left", "right", "upper", "lower", "both"}


def test_every_phrase_of_the_phantoms_is_known():
    for i in range(300):
        made = scene(i, seed=6, modalities=tuple(MODALITIES), controls=Controls())
        module = MODALITIES[made.modality]
        for noun in module.NOUNS:
            assert phantom_meaning(f"A {noun}").modality == (made.modality,)
        for phrase in module.describe(made.params).finding:
            found = phantom_meaning(phrase).findings
            assert [one.name for one in found] == [f"{made.modality}/{made.finding}"], phrase
        assert phantom_meaning(module.PROMPTS[made.finding]).findings[0].name == f"{made.modality}/{made.finding}"


PAIRS = [
    ("A chest film with a nodule.", "A chest film with no nodule."),
    ("No polyp on this colonoscopy image.", "A polyp on this colonoscopy image."),
    ("A nodule in the left upper zone.", "A nodule in the right upper zone."),
    ("A nodule in the left upper zone.", "A nodule in the left lower zone."),
    ("A mild effusion.", "A severe effusion."),
    ("A small mass.", "A large mass."),
    ("Two nodules.", "Three nodules."),
    ("A nodule.", "Nodules."),
    ("A benign mass.", "A malignant mass."),
    ("A nodule with sharp margins.", "A nodule with smooth margins."),
    ("A mass with posterior enhancement.", "A mass with posterior shadowing."),
    ("A cup-to-disc ratio of 0.7.", "A cup-to-disc ratio of 0.3."),
    ("A sessile polyp.", "A pedunculated polyp."),
    ("A flame haemorrhage.", "A dot haemorrhage."),
    ("A chest radiograph with an opacity.", "A chest radiograph with an effusion."),
    ("A chest radiograph with an opacity.", "A breast radiograph with an opacity."),
    ("A polyp at 5 o'clock.", "A polyp at 6 o'clock."),
    ("This film showing an opacity.", "This film excluding an opacity."),
    ("This film shows an opacity.", "This film cancer an opacity cyst."),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_minimal_pairs_of_captions_differ(one, other):
    assert phantom_meaning(one) != phantom_meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A chest film showing a lung opacity.", "A thorax x-ray revealing a pulmonary opacification."),
        ("A fundus photograph with retinal haemorrhages.", "A fundus photo with retinal bleeds"),
        ("A melanocytic naevus with a regular border.", "A melanocytic nevus with a regular edge."),
        ("A pulmonary nodule", "A pulmonary nodlue"),
        ("A radiograph showing an opacity.", "The radiograph banana an opacity."),
    ],
)
def test_other_words_for_the_same(one, other):
    assert phantom_meaning(one) == phantom_meaning(other)
    assert hash(phantom_meaning(one)) == hash(phantom_meaning(other))


def test_every_synonym_of_the_lexicon_agrees(rows):
    table = replacements(read_lexicon())
    for _, captions in rows[:300]:
        meaning = phantom_meaning(captions[0])
        for position, word in enumerate(captions[0].rstrip(".").lower().split()):
            for other in table.get(word.strip(","), ()):
                assert phantom_meaning(put_word(captions[0], position, other)) == meaning, (captions[0], word, other)


REPORTS = [
    ("No pleural effusion.", "Small pleural effusion."),
    ("Left lower lobe consolidation.", "Right lower lobe consolidation."),
    ("Mild cardiomegaly.", "Severe cardiomegaly."),
    ("Possible pneumonia.", "Pneumonia."),
    ("The effusion has resolved.", "The effusion has progressed."),
    ("Opacity has improved.", "Opacity has worsened."),
    ("Two rib fractures.", "Three rib fractures."),
    ("Clear of pneumothorax.", "Free of pneumothorax."),
    ("Patient denies fever, pneumonia seen.", "Patient reports fever, pneumonia seen."),
]


@pytest.mark.parametrize(("one", "other"), REPORTS)
def test_minimal_pairs_of_reports_differ(one, other):
    assert report_meaning(one) != report_meaning(other)


def test_reports_are_labelled():
    text = (
        "No effusion, pneumothorax or consolidation. Heart is enlarged; possible mild oedema on the left.\nNo change."
    )
    said = report_meaning(text)
    assert [(one.name, one.status) for one in said.mentions] == [
        ("effusion", "absent"),
        ("pneumothorax", "absent"),
        ("consolidation", "absent"),
        ("cardiomegaly", "present"),
        ("oedema", "uncertain"),
    ]
    assert said.mentions[-1].places == ("left",)
    assert said.mentions[-1].degrees == ("mild",)
    status = {
        "No effusion but a nodule is seen.": ["absent", "present"],
        "Effusion is not seen.": ["absent"],
        "Without fracture. A mass.": ["absent", "present"],
        "The previous pneumothorax has resolved.": ["absent"],
    }
    for text, told in status.items():
        assert [one.status for one in report_meaning(text).mentions] == told, text


def test_synonyms_and_slips_in_reports_agree():
    one = "The radiograph demonstrates oedema and a calcified tumor; haemorrhage is unchanged."
    other = "The film shows edema and a calcified neoplasm; hemorrhage is stable."
    assert report_meaning(one) == report_meaning(other)
    assert report_meaning("Large effusion.") == report_meaning("Large efusion.")
    assert report_meaning("") == report_meaning("The patient is well.")


SENSES = [
    ("Benign lesion.", "Malignant lesion."),
    ("Effusion isn't seen.", "Effusion is seen."),
    ("Mass w/o oedema.", "Mass with oedema."),
    ("Opacity in the R lung.", "Opacity in the L lung."),
    ("Anterior wall lesion.", "Posterior wall lesion."),
    ("Grade II lesion.", "Grade IV lesion."),
    ("Acute infarct.", "Chronic infarct."),
]


@pytest.mark.parametrize(("one", "other"), SENSES)
def test_negation_forms_short_sides_grades_and_antonyms_are_read(one, other):
    assert report_meaning(one) != report_meaning(other)
    assert report_meaning(one.replace(" ", "&nbsp;")) == report_meaning(one)


def test_a_protected_word_has_one_sense():
    poles = [set(pole.split()) for pole in _AXES.replace("\n    ", " ").replace("\n", "|").split("|")]
    words = [word for pole in poles for word in pole]
    assert sorted(word for word in set(words) if words.count(word) > 1) == []
