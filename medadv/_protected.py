"""Words that carry the meaning of a report: what a change of words must neither take away, nor bring, nor turn round.

English only. NEGATIONS, SIDES, DEGREES and NUMBERS stay letter for letter. A word of SENSES may give way to a word of
the same sense (anterior to ventral) or to a slip of the keyboard, and to nothing else.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from medadv._words import bare, canonical, forms, legible, one_apart, plain, read_lexicon, singular

_AUXILIARIES = "is are was were do does did has have had ca could would should must need might wo".split()
NEGATIONS = frozenset(
    "no not without absent absence denies denied deny negative never neither nor none free cannot resolved "
    "excluded excludes excluding excluded lacking lacks lack minus non "
    "w/o w/out wo neg denying negatives negated nil nought nothing nobody nowhere cant devoid void unless except "
    "out ruled rule rules r/o exclude exclusion negatively unseen undetected hardly barely scarcely".split()
) | {f"{verb}n{mark}t" for verb in _AUXILIARIES for mark in ("'", "")}
SIDES = frozenset(
    "left right bilateral unilateral both upper lower middle central top bottom "
    "l r lt rt lft rgt bil bilat bilaterally unilaterally laterality leftward leftwards rightward rightwards leftsided "
    "rightsided ipsilateral contralateral ipsilaterally contralaterally dextral sinistral "
    "od os ou rul rml rll lul lll ruq rlq luq llq lv rv la ra lvef rvef lca rca lmca uppermost lowermost mid".split()
)
DEGREES = frozenset(
    "mild slight moderate marked severe minimal massive tiny small medium medium-sized large "
    "mildly slightly moderately markedly severely minimally massively milder severer severity minor major trace low "
    "high lowgrade highgrade lower-grade higher-grade".split()
)
_LETTERED = frozenset("grade stage type class level category group hepatitis vitamin influenza child-pugh".split())
_ROMANS = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx".split()
NUMBERS = frozenset(
    "one two three four five six seven eight nine ten several single double multiple "
    "zero eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety hundred thousand dozen first second third fourth fifth sixth seventh eighth ninth tenth "
    "once twice thrice triple quadruple dual half third quarter few fewer solitary".split()
) | {roman + letter for roman in _ROMANS for letter in ("", "a", "b", "c")}

# Axis: pole, pole, ...; each pole the words of one sense. A word stands in one pole only (a test holds it).
_AXES = """
anterior ventral anteriorly ventrally frontal | posterior dorsal posteriorly dorsally
superior cranial cephalad rostral superiorly | inferior caudal caudad inferiorly
medial medially mesial | lateral laterally
proximal proximally | distal distally
apical apex apices apically | basal basilar base bases basally
deep deeply | superficial superficially
centrally | peripheral peripherally
internal internally inner | external externally outer
temporal temporally | nasal nasally
ascending | descending
anteroposterior ap | posteroanterior pa
upwards upward up | downwards downward down
above over | below under beneath
supine | prone
acute acutely subacute | chronic chronically longstanding long-standing
early earlier | late later
benign noncancerous nonmalignant non-cancerous non-malignant |
    malignant cancerous malignancy malignancies cancer cancers
primary | metastatic secondary
invasive infiltrating | noninvasive in-situ insitu
normal unremarkable healthy normally | abnormal remarkable abnormality abnormalities abnormally pathological pathologic
positive positively pos | insignificant
present presence presents | missing
increase increases increased increasing increasingly raised elevated elevation rise rises rising risen |
    decrease decreases decreased decreasing reduced reduces reduction diminished diminishing declined fall falls
larger bigger enlarged enlarging enlargement grew grown growing growth | smaller shrunk shrunken shrinking atrophic
gained | lost loss
stable unchanged stably constant | changed change changes |
    worsened worsening worse worsens deteriorated deteriorating progressed progressive progressing progression |
    improved improving better improves improvement recovered regressed regressing regression resolving resolution healed
new newly recent recently | old prior previous previously former formerly
opened open patent patency | closed occluded obstructed blocked occlusion obstruction blockage
complete completely entire entirely total totally fully whole | incomplete partial partially partly
intact preserved | ruptured torn broken disrupted
solid | cystic
dense hyperdense radiopaque radiodense hyperattenuating | lucent hypodense radiolucent hypoattenuating
hyperechoic echogenic hyperechogenic | hypoechoic echo-poor hypoechogenic | anechoic echo-free | isoechoic
hyperintense bright | hypointense dark | isointense
hyperinflated overinflated hyperexpanded hyperinflation overinflation hyperexpansion | hypoinflated underinflated
    hypoinflation underinflation underexpanded collapsed
dilated distended widened dilatation dilation | narrowed stenosed constricted narrowing stenosis
thick thickened thickening | thin thinned thinning
wide broad | narrow
symmetric symmetrical symmetry symmetrically | asymmetric asymmetrical asymmetry asymmetrically
regular regularly | irregular irregularly uneven
homogeneous uniform | inhomogeneous heterogeneous nonuniform
focal localised localized | diffuse widespread generalised generalized multifocal
sharply clearly distinctly
well-defined well-circumscribed well-demarcated circumscribed | ill-defined indistinct poorly blurred
smooth | rough spiculated lobulated
clear | cloudy hazy opaque opacified
typical typically | atypical atypically
stained | unstained
possible possibly probable probably likely may might could suspected suspicious questionable equivocal perhaps
    presumed suspect suspicion | definite definitely certain certainly confirmed confirms proven definitively | unlikely
many numerous much innumerable | scant sparse
all every each | some any
more greater most | less least lesser
rapid rapidly fast quickly quick | slow slowly gradually gradual
sudden abrupt suddenly abruptly
extensive extensively | limited restricted
pronounced | subtle faint
advanced | incipient
afebrile | febrile
viable | necrotic
systolic | diastolic
flexion flexed | extension extended
arterial artery arteries | venous vein veins
male man men boy | female woman women girl
before pre preoperative presurgical pre-operative | after post postoperative postsurgical post-operative
alive | dead deceased died
sensitive | resistant
soft | hard
sessile | pedunculated stalked
wet | dry
displaced shifted | undisplaced nondisplaced
attached | detached
"""
_PREFIXES = sorted(
    "hyper hypo normo eu iso in de ab un im ir ex dis anti ante pre post intra extra inter supra infra sub super macro "
    "micro brady tachy bi uni mono poly multi tri endo exo ecto epi antero postero supero infero medio latero over "
    "under out up down hetero homo ad ob dextro levo laevo non a an".split(),
    key=len,
    reverse=True,
)
_SAME = ({"hyper", "over", "super"}, {"hypo", "under", "sub"}, {"un", "non", "in", "im", "ir", "a", "an"},
         {"pre", "ante", "antero"}, {"endo", "intra"}, {"exo", "extra", "ecto"}, {"mono", "uni"}, {"poly", "multi"},
         {"supra", "super", "supero"}, {"infra", "sub", "infero"}, {"levo", "laevo"})  # fmt: skip
"""Prefixes that say the same: hyperinflated and overinflated."""


LETTER_FOR_LETTER = NEGATIONS | SIDES | DEGREES | NUMBERS


@cache
def senses() -> dict[str, str]:
    """For every word that has a sense, the first word of its pole; synonyms of the shipped lexicon share it."""
    found = {}
    for line in re.sub(r"\n    ", " ", _AXES).strip().splitlines():
        for pole in line.split("|"):
            words = pole.split()
            found.update(dict.fromkeys(words, words[0]))
    for group in read_lexicon():
        members = (*group.words, *group.oneway)
        known = next((found[form] for word in members for form in (word, singular(word)) if form in found), None)
        if known is not None:
            found.update({word: known for word in members if word not in found})
    return {word: sense for word, sense in found.items() if word not in LETTER_FOR_LETTER}


PROTECTED = LETTER_FOR_LETTER | frozenset(senses())


def holds_number(word: str) -> bool:
    """Say whether a word has a digit in any writing."""
    return any(letter.isnumeric() for letter in word)


@lru_cache(maxsize=100_000)
def fixed(word: str, protected: frozenset[str]) -> bool:
    """Say whether a word must stay as it is: numbers in digits always."""
    return holds_number(word) or any(form in protected and form not in senses() for form in forms(plain(word)))


def grade_letter(words: list[str], i: int) -> bool:
    """Say whether a word is the letter of a grade or a type: type B, hepatitis C."""
    return i > 0 and len(bare(words[i])) == 1 and bare(words[i - 1]) in _LETTERED


@lru_cache(maxsize=100_000)
def same_sense(before: str, after: str, protected: frozenset[str]) -> bool:
    """Say whether a word may give way to another as far as protected senses go."""
    old, new = bare(legible(before)), bare(legible(after))
    if old == new or not protected:
        return True
    had, has = ({senses()[form] for form in forms(word) & protected if form in senses()} for word in (old, new))
    slip = len(old) > 3 and one_apart(old, new) and not has
    return (had == has or slip) and not opposed(old, new)


@lru_cache(maxsize=100_000)
def loaded(word: str) -> tuple[str, ...]:
    """What a word says by itself or by a part of it, in the words of this module: right-sided says right."""
    said = forms(word)
    return tuple(sorted((said & LETTER_FOR_LETTER) | {senses()[form] for form in said if form in senses()}))


def opposed(one: str, other: str) -> bool:
    """Say whether two words differ by a prefix that turns the meaning round: hypertension and hypotension."""
    lexicon = canonical()
    if lexicon.get(one, one) == lexicon.get(other, other):
        return False
    ends = {stem: prefix for prefix, stem in _stems(other)}
    return any(
        prefix != ends[stem] and not any({prefix, ends[stem]} <= same for same in _SAME)
        for prefix, stem in _stems(one)
        if stem in ends
    )


def _stems(word: str) -> list[tuple[str, str]]:
    # The whole word last: of two ways to the same stem the one with a prefix would else be lost.
    cut = [(prefix, word[len(prefix) :].lstrip("-")) for prefix in _PREFIXES if word.startswith(prefix)]
    return [(prefix, stem) for prefix, stem in [*cut, ("", word)] if len(stem) > 3]
