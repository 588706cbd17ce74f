"""What a caption or a report says, as a value that can be compared: the judge of whether a changed text still means
the same. Texts are read word by word, in the lexicon's own words, against the phrases of findings listed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from medadv._protected import (
    DEGREES,
    LETTER_FOR_LETTER,
    NEGATIONS,
    NUMBERS,
    SIDES,
    holds_number,
    loaded,
    senses,
)
from medadv._words import bare, canonical, legible, one_apart, plain, singular
from medadv.data.phantoms import MODALITIES

_SIZES = frozenset("small medium-sized large tiny".split())
_SEVERITIES = (DEGREES - _SIZES) | {"pronounced", "advanced"}
_PLACES = SIDES | frozenset(
    "center basal apical central lateral medial temporal nasal superotemporal superonasal inferotemporal "
    "inferonasal bilaterally deep peripheral retrocardiac".split()
)
_DOUBTS = frozenset(
    "possible possibly probable probably likely may might could suspected suspicious questionable equivocal "
    "suggest suggests suggesting suggestive versus concerning uncertain perhaps presumed".split()
)
_CHANGES = frozenset(
    "new old increased increasing decreased decreasing reduced improved improving worsened worsening stable unchanged "
    "larger smaller resolving progression persistent enlarging".split()
)

_PHANTOM_FINDINGS = {
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
_KINDS = frozenset("sessile pedunculated dot blot flame".split())
"""Words inside such a phrase that tell one kind of a finding from another."""
_PHANTOM_SIGNS = {"sign": "milia-like cyst"}
"""Signs that would else be taken for findings."""
_REPORT_FINDINGS = {
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
_TURNS = frozenset("but however although though except yet with showing demonstrates".split())


class Finding(NamedTuple):
    """One finding of a phantom's caption; what is not said is empty."""

    name: str
    """Class name, such as chest/opacity."""
    present: bool
    number: str = ""
    """A number word, "several" for a plural without one."""
    size: str = ""
    severity: str = ""


class Meaning(NamedTuple):
    """What a caption of a phantom says."""

    modality: tuple[str, ...]
    findings: tuple[Finding, ...]
    place: tuple[str, ...]
    """Words of side and zone in their order."""
    signs: tuple[str, ...]
    """Everything else that says something, in its order."""


class Mention(NamedTuple):
    """One finding of a report, with what its clause says of it."""

    name: str
    status: str
    """present, absent or uncertain."""
    places: tuple[str, ...]
    degrees: tuple[str, ...]


class Reading(NamedTuple):
    """What a report says: its findings, and every word that carries meaning: negation, side, direction, degree, number,
    doubt, change, and the antonyms of findings, each in one word for all that say the same."""

    mentions: tuple[Mention, ...]
    words: tuple[str, ...]


def phantom_meaning(caption: str) -> Meaning:
    """Read a caption of a phantom: modality, findings with count, size and severity, place, and all other signs.

    Shapes   none.
    Units    words in the lexicon's spelling: synonyms read the same. An unknown word is read as the known one that is
             one slip away, as a human would read a misspelling; other unknown words say nothing.
    Returns  Meaning, hashable; equal exactly where two captions of the same build say the same.
    Raises   nothing; a text of another kind gives few or no findings.
    Source   ours. Exact for the captions that this package writes (a test parses those of 2,000 phantoms).
    """
    tokens, place, signs = _read(caption), list[str](), list[str]()
    findings, modality, used = list[Finding](), list[str](), set[int]()
    for start, end, key in _matches(tokens, _phantom_index()):
        used.update(range(start, end))
        if key in MODALITIES:
            modality.append(key)
            continue
        if key in _PHANTOM_SIGNS:
            signs += [token.word for token in tokens[start:end]]
            continue
        said = _around(tokens, start, end)
        used.update(said.pop("used"))
        no = any(t.word in NEGATIONS and t.clause == tokens[start].clause for t in tokens[:start])
        findings.append(Finding(key, not no, **said))
        signs += [tokens[j].word for j in range(start, end) if tokens[j].word in _KINDS]
    for j, (word, *_) in enumerate(tokens):
        if j in used:
            continue
        if word in _PLACES:
            place.append(word)
        elif word in _content() or word in _LOADED or holds_number(word):
            signs.append(word)
        else:
            signs += loaded(word)
    return Meaning(tuple(modality), tuple(findings), tuple(place), tuple(signs))


def report_meaning(text: str) -> Reading:
    """Label a report by rules: findings with negation, doubt, side, degree, and every other loaded word.

    Shapes   none.
    Units    words as in `phantom_meaning`.
    Returns  Reading, hashable. A negation holds for what follows it in its sentence up to but, however, with and the
             like, and for what comes before it in its clause ("effusion has resolved"); a doubt for its clause.
    Raises   nothing.
    Source   the scheme of NegEx (Chapman et al. 2001) and CheXpert (Irvin et al. 2019, arXiv 1901.07031), with a short
             list of findings of our own. Differs: it is made to compare a text with its edit, where a finding that it
             does not know, or a scope that it gets wrong, is the same on both sides. It is no labeller for training.
    """
    tokens = _read(text)
    mentions = tuple(
        Mention(
            key, _status(tokens, start, end), _near(tokens, start, _PLACES), _near(tokens, start, _SIZES | _SEVERITIES)
        )
        for start, end, key in _matches(tokens, _report_index())
    )
    return Reading(mentions, tuple(word for token in tokens for word in _said_by(token.word)))


def _said_by(word: str) -> tuple[str, ...]:
    plain = word in _LOADED or word in _PLACES or holds_number(word)
    return (word,) if plain else loaded(word)


_LOADED = NEGATIONS | NUMBERS | _SIZES | _SEVERITIES | _DOUBTS | _CHANGES


@cache
def _phantom_index() -> dict:
    nouns = {name: module.NOUNS for name, module in MODALITIES.items()}
    return _index(_PHANTOM_FINDINGS, _PHANTOM_SIGNS, nouns)


@cache
def _report_index() -> dict:
    return _index(_REPORT_FINDINGS)


def _around(tokens: list[_Token], start: int, end: int) -> dict:
    # "three small severe nodules", "nodules, small, severe": the words of count and degree that touch the phrase.
    said: dict = {"number": "", "size": "", "severity": "", "used": set()}
    for way, at in ((-1, start - 1), (1, end)):
        while 0 <= at < len(tokens):
            word = tokens[at].word
            kind = (
                "size" if word in _SIZES else "severity" if word in _SEVERITIES else "number" if word in NUMBERS else ""
            )
            if not kind or said[kind] or (kind == "number" and way > 0):
                break
            said[kind] = word
            said["used"].add(at)
            at += way
    if not said["number"] and tokens[end - 1].many:
        said["number"] = "several"
    return said


def _status(tokens: list[_Token], start: int, end: int) -> str:
    sentence, clause = tokens[start].sentence, tokens[start].clause
    absent = False
    for token in tokens[:start]:
        if token.sentence == sentence:
            absent = token.word in NEGATIONS or (absent and token.word not in _TURNS)
    for token in tokens[end:]:  # "effusion is absent", "no longer seen"
        if token.clause != clause or token.word in _TURNS:
            break
        absent = absent or token.word in NEGATIONS
    doubt = any(token.clause == clause and token.word in _DOUBTS for token in tokens)
    return "uncertain" if doubt else "absent" if absent else "present"


def _near(tokens: list[_Token], start: int, kind: frozenset[str]) -> tuple[str, ...]:
    return tuple(token.word for token in tokens if token.clause == tokens[start].clause and token.word in kind)


_Index = dict[str, list[tuple[tuple[str, ...], str]]]


class _Token(NamedTuple):
    """A word as it is read: its canonical form, whether it was a plural, and the clause and sentence it stands in."""

    word: str
    many: bool
    clause: int
    sentence: int


def _read(text: str) -> list[_Token]:
    """Read a text word by word; a comma ends a clause, a full stop, colon, semicolon or new line also a sentence."""
    tokens, clause, sentence = [], 0, 0
    for line in plain(text).split("\n"):
        for word in line.split():
            core = bare(legible(word))
            if core:
                tokens.append(_Token(*_lemma(core), clause, sentence))
            clause += word.endswith((",", ";", ":", "."))
            sentence += word.endswith((";", ":", "."))
        clause, sentence = clause + 1, sentence + 1
    return tokens


def _matches(tokens: list[_Token], index: _Index) -> list[tuple[int, int, str]]:
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


def _index(*tables: Mapping[str, str | Iterable[str]]) -> _Index:
    """From key -> phrases to first word -> [(words of the phrase, key)], the longest phrases first."""
    found: _Index = {}
    for table in tables:
        for key, phrases in table.items():
            for phrase in phrases.split("|") if isinstance(phrases, str) else phrases:
                words = tuple(_known(word)[0] for word in phrase.lower().split())
                found.setdefault(words[0], []).append((words, key))
    return {word: sorted(rows, key=lambda row: -len(row[0])) for word, rows in found.items()}


@cache
def _content() -> frozenset[str]:
    """Every word that says something in a caption of a phantom or names a finding of a report."""
    nouns = [noun for module in MODALITIES.values() for noun in module.NOUNS]
    phrases = [*_PHANTOM_FINDINGS.values(), *_REPORT_FINDINGS.values(), *nouns, _SIGNS]
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
    usual = (
        (_PLACES - SIDES) | _DOUBTS | _CHANGES | set(_FUNCTION.split()) | _content() | frozenset(canonical()) | _OFTEN
    )
    return usual, usual | frozenset(word for word in LETTER_FOR_LETTER | set(senses()) if len(word) > 2)
