"""The phrases that label functions know, and how a text is read: word by word, in the lexicon's own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from medadv._protected import DEGREES, LETTER_FOR_LETTER, SIDES, senses
from medadv._words import bare, canonical, legible, one_apart, plain, singular
from medadv.data.phantoms import MODALITIES

SIZES = frozenset("small medium-sized large tiny".split())
SEVERITIES = (DEGREES - SIZES) | {"pronounced", "advanced"}
PLACES = SIDES | frozenset(
    "center basal apical central lateral medial temporal nasal superotemporal superonasal inferotemporal "
    "inferonasal bilaterally deep peripheral retrocardiac".split()
)
DOUBTS = frozenset(
    "possible possibly probable probably likely may might could suspected suspicious questionable equivocal "
    "suggest suggests suggesting suggestive versus concerning uncertain perhaps presumed".split()
)
CHANGES = frozenset(
    "new old increased increasing decreased decreasing reduced improved improving worsened worsening stable unchanged "
    "larger smaller resolving progression persistent enlarging".split()
)

PHANTOM_FINDINGS = {
    "chest/normal": "normal chest | normal heart and lung appearance | clear pair of lungs",
    "chest/opacity": "lung opacity | airspace opacity | opacity",
    "chest/effusion": "pleural effusion | effusion | pleural fluid collection",
    "chest/cardiomegaly": "cardiomegaly | cardiac enlargement",
    "chest/nodule": "lung nodule | pulmonary nodule | nodule",
    "fundus/normal": "normal retina | normal fundus | healthy retina | normal eye background",
    "fundus/glaucoma": "glaucomatous optic disc | glaucomatous disc | glaucomatous optic nerve head | glaucoma",
    "fundus/haemorrhages": "retinal haemorrhage | intraretinal haemorrhage | haemorrhage"
    " | dot haemorrhage | blot haemorrhage | flame haemorrhage",
    "fundus/exudates": "hard exudate | lipid exudate | yellow exudate | exudate",
    "histology/normal": "normal tissue | normal tissue pattern | normal tissue architecture | benign glandular pattern",
    "histology/tumour": "tumour | carcinoma | malignant tumour | focus of carcinoma",
    "histology/lymphocytes": "lymphocytic infiltrate | infiltrate of lymphocytes | lymphoid aggregate",
    "dermoscopy/naevus": "naevus | benign naevus | melanocytic naevus",
    "dermoscopy/melanoma": "melanoma | malignant melanoma | malignant skin tumour",
    "dermoscopy/keratosis": "seborrhoeic keratosis | benign keratosis | keratosis",
    "ultrasound/normal": "normal breast | normal breast tissue pattern | normal fibroglandular pattern",
    "ultrasound/benign": "benign mass | benign lesion | benign breast mass",
    "ultrasound/malignant": "malignant mass | malignant lesion | malignant breast mass",
    "ultrasound/mass": "mass | focal lesion",
    "ultrasound/cyst": "cyst",
    "endoscopy/normal": "normal mucosa | normal colon | healthy colonic mucosa | clear colon",
    "endoscopy/polyp": "polyp | colonic polyp | pedunculated polyp | sessile polyp | polypoid lesion",
}
KINDS = frozenset("sessile pedunculated dot blot flame".split())
"""Words inside such a phrase that tell one kind of a finding from another."""
PHANTOM_SIGNS = {"sign": "milia-like cyst"}
"""Signs that would else be taken for findings."""
REPORT_FINDINGS = {
    "normal": "normal | unremarkable | clear | intact",
    "cardiomegaly": "cardiomegaly | enlarged heart | heart is enlarged | enlarged cardiac silhouette"
    " | cardiac enlargement",
    "mediastinum": "widened mediastinum | mediastinal widening | wide mediastinum",
    "opacity": "opacity | infiltrate | airspace disease",
    "lesion": "nodule | mass | lesion | tumour | metastasis | carcinoma | granuloma | cyst | polyp | melanoma | naevus",
    "oedema": "oedema | vascular congestion | fluid overload",
    "consolidation": "consolidation",
    "pneumonia": "pneumonia | infection",
    "atelectasis": "atelectasis | collapse",
    "pneumothorax": "pneumothorax",
    "effusion": "effusion | pleural fluid",
    "pleura": "pleural thickening | empyema | haemothorax",
    "fracture": "fracture | dislocation",
    "device": "tube | catheter | pacemaker | line | drain | stent | clip | wire | prosthesis",
    "emphysema": "emphysema | hyperinflation",
    "fibrosis": "fibrosis | scar | interstitial disease",
    "calcification": "calcification | calculus",
    "haemorrhage": "haemorrhage | haematoma | bleeding",
    "ischaemia": "infarct | ischaemia | thrombus | embolism",
    "inflammation": "inflammation | ulcer | abscess | pneumoperitoneum",
    "glaucoma": "glaucoma",
    "exudate": "exudate",
    "hernia": "hernia",
}
_SIGNS = """
above angle appearance atypia atypical background basal base bleeding blot blunting border bright broad brown
cardiac cardiothoracic clear close clustered comedo-like costophrenic crowded cup cup-to-disc cysts dark demarcated
deposits depth dot dots each enhancement enlarged fat fibroglandular flame fluid folds gland glandular globules hard
healthy heart ill-defined irregular kind large layers lumen lung lymphocytes many margin mass meniscus milia-like
mucosa narrow network neural normal nuclear nuclei o'clock open openings orderly order outline oval pattern pedicle
pedunculated pigment pleomorphism pleural posterior preserved ratio red regression regular rim round sessile shades
shadow shadowing shape sharp sharply silhouette size skin smooth soft some space spiculated spots stained stalk
streaks stuck-on surface symmetric taller tall thinning undisturbed variegation veil waxy whitish wide wider yellow
"""
_OFTEN = frozenset(
    """
no not without absent absence denies denied deny negative never neither nor none free cannot resolved excluded excludes
excluding lacking lacks lack minus non left right bilateral unilateral both upper lower middle central top bottom mild
slight moderate marked severe minimal massive tiny small medium medium-sized large one two three four five six seven
eight nine ten several single double multiple""".split()
)
"""Protected words that captions are made of; a slip is read as one of these before any other."""
_FUNCTION = """
a an the this that these there here is are was were be has have of in on at to from than and or with around
patient study view shows image picture"""


class Token(NamedTuple):
    """A word as it is read: its canonical form, whether it was a plural, and the clause and sentence it stands in."""

    word: str
    many: bool
    clause: int
    sentence: int


def read(text: str) -> list[Token]:
    """Read a text word by word; a comma ends a clause, a full stop, colon, semicolon or new line also a sentence."""
    tokens, clause, sentence = [], 0, 0
    for line in plain(text).split("\n"):
        for word in line.split():
            core = bare(legible(word))
            if core:
                tokens.append(Token(*_lemma(core), clause, sentence))
            clause += word.endswith((",", ";", ":", "."))
            sentence += word.endswith((";", ":", "."))
        clause, sentence = clause + 1, sentence + 1
    return tokens


def matches(tokens: list[Token], index: Mapping[str, list[tuple[tuple[str, ...], str]]]) -> list[tuple[int, int, str]]:
    """Find phrases, the longest first at every place, as (start, end, key)."""
    words, found, at = [token.word for token in tokens], [], 0
    while at < len(words):
        for phrase, key in index.get(words[at], ()):
            if tuple(words[at : at + len(phrase)]) == phrase:
                found.append((at, at + len(phrase), key))
                at += len(phrase) - 1
                break
        at += 1
    return found


def index(*tables: Mapping[str, str | Iterable[str]]) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """From key -> phrases to first word -> [(words of the phrase, key)], the longest phrases first."""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for table in tables:
        for key, phrases in table.items():
            for phrase in phrases.split("|") if isinstance(phrases, str) else phrases:
                words = tuple(_known(word)[0] for word in phrase.lower().split())
                found.setdefault(words[0], []).append((words, key))
    return {word: sorted(rows, key=lambda row: -len(row[0])) for word, rows in found.items()}


@cache
def content() -> frozenset[str]:
    """Every word that says something in a caption of a phantom or names a finding of a report."""
    nouns = [noun for module in MODALITIES.values() for noun in module.NOUNS]
    phrases = [*PHANTOM_FINDINGS.values(), *REPORT_FINDINGS.values(), *nouns, _SIGNS]
    words = " ".join(phrases).replace("|", " ").lower().split()
    return frozenset(_known(word)[0] for word in words) - frozenset(_FUNCTION.split())


@lru_cache(maxsize=100_000)
def _lemma(word: str) -> tuple[str, bool]:
    # A reader takes "nodlue" for nodule: an unknown word is read as the known one that is a single slip away. The
    # words that captions are made of come first, then everything else that is protected.
    usual, wide = _vocabulary()
    if word in wide or singular(word) in wide or len(word) < 4:
        return _known(word)
    for vocabulary in (usual, wide):
        near = {known for known in vocabulary if known[0] == word[0] and one_apart(word, known)}
        near |= {known for known in vocabulary if known[0] == word[0] and one_apart(singular(word), known)}
        read_as = {_known(known)[0] for known in near}
        if len(read_as) == 1:
            return read_as.pop(), singular(word) != word and all(singular(known) == known for known in near)
        if read_as:
            break
    return word, False


def _known(word: str) -> tuple[str, bool]:
    # In the lexicon's first word for it, in the singular.
    synonyms = canonical()
    if word in LETTER_FOR_LETTER:
        return word, False
    first = synonyms.get(word, word)
    one = singular(first)
    return synonyms.get(one, one), one != first


@cache
def _vocabulary() -> tuple[frozenset[str], frozenset[str]]:
    usual = (PLACES - SIDES) | DOUBTS | CHANGES | set(_FUNCTION.split()) | content() | frozenset(canonical()) | _OFTEN
    return usual, usual | frozenset(word for word in LETTER_FOR_LETTER | set(senses()) if len(word) > 2)
