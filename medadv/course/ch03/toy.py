"""A ring world: pictures and captions are directions in the plane, so that the best attack can be found exactly."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple


class Ring(NamedTuple):
    """One picture, its own captions and those of others. All angles are in degrees."""

    image: float
    own: tuple[float, ...]
    other: tuple[float, ...]
    reach: float
    """How far the pixels can turn the picture, either way."""
    swaps: tuple[tuple[float, ...], ...] = ()
    """For each own caption how far each word that may be exchanged turns it; leaving it alone is always allowed."""


class Move(NamedTuple):
    """Where an attack put the picture and how far it turned each own caption, with what is left."""

    image: float
    turns: tuple[float, ...]
    gap: float
    """By how much the nearest wrong caption is farther than the nearest own one; found where it is above zero."""

    @property
    def found(self) -> bool:
        """Does the picture still find one of its own captions?"""
        return self.gap > 1e-9


def ring(kind: str) -> Ring:
    """Make one of the three rings of the first lesson.

    Shapes   "sum": neither part wins alone; "phone": two attackers who do not talk; "set": three captions.
    Units    degrees.
    Returns  a Ring.
    Raises   KeyError for another name.
    Source   ours.
    """
    return {
        "sum": Ring(0, (10,), (-100, 100), 40, ((30,),)),
        "phone": Ring(0, (0,), (-100, 100), 40, ((30,),)),
        "set": Ring(0, (-10, 25, 35), (-110, 110), 65, ((), (), ())),
    }[kind]


def distance(a: float, b: float) -> float:
    """Measure the angle between two directions.

    Shapes   none.
    Units    degrees, from 0 to 180.
    Returns  float.
    Raises   nothing.
    Source   definition.
    """
    return abs((a - b + 180) % 360 - 180)


def gap(world: Ring, image: float, turns: tuple[float, ...] = ()) -> float:
    """Say by how much the nearest wrong caption is farther than the nearest own one.

    Shapes   one turn for each own caption, or none.
    Units    degrees; at zero and below the picture finds somebody else's caption.
    Returns  float.
    Raises   nothing.
    Source   definition of recall at 1, ties counting against the model.
    """
    own = [a + t for a, t in itertools.zip_longest(world.own, turns, fillvalue=0.0)]
    return min(distance(image, a) for a in world.other) - min(distance(image, a) for a in own)


def clean(world: Ring) -> Move:
    """Leave everything as it is.

    Shapes   none.
    Units    degrees.
    Returns  a Move.
    Raises   nothing.
    Source   ours.
    """
    return _move(world, world.image, (0.0,) * len(world.own))


def exact(world: Ring, *, image: bool = True, text: bool = True) -> Move:
    """Find the strongest attack there is, by trying every word and every angle that can be an optimum.

    Shapes   none.
    Units    degrees.
    Returns  the Move with the smallest gap; `image` and `text` say what may move.
    Raises   nothing.
    Source   ours: between its kinks the gap is a straight line, so the optimum is at a kink or at the end.
    """
    words = [(0.0, *w) if text else (0.0,) for w in _swaps(world)]
    moves = []
    for turns in itertools.product(*words):
        own = [a + t for a, t in zip(world.own, turns, strict=True)]
        moves += [_move(world, x, turns) for x in (_kinks(world, own) if image else [world.image])]
    return min(moves, key=lambda move: move.gap)


def away(world: Ring, guides: tuple[float, ...]) -> float:
    """Turn the picture as far as it goes from the mean of some captions: the set-level step, solved exactly.

    Shapes   G guides.
    Units    degrees.
    Returns  the angle within reach at which the mean cosine to the guides is least; of two equal ones the larger.
    Raises   nothing.
    Source   a sum of cosines is one cosine: sum cos(x - a) = R cos(x - phi).
    """
    x, y = (sum(f(math.radians(a)) for a in guides) for f in (math.cos, math.sin))
    phi = math.degrees(math.atan2(y, x))
    low, high = world.image - world.reach, world.image + world.reach
    opposite = phi + 180 + 360 * round((world.image - phi - 180) / 360)
    if low <= opposite <= high:
        return opposite
    return high if distance(high, phi) >= distance(low, phi) - 1e-9 else low


def reword(world: Ring, image: float) -> tuple[float, ...]:
    """Choose for each own caption the word that turns it farthest from the picture.

    Shapes   one turn for each own caption.
    Units    degrees.
    Returns  turns; 0 where no word helps.
    Raises   nothing.
    Source   ours.
    """
    pairs = zip(world.own, _swaps(world), strict=True)
    return tuple(max((0.0, *words), key=lambda turn: distance(image, own + turn)) for own, words in pairs)


def separately(world: Ring) -> Move:
    """Move the picture against the clean captions and the captions against the clean picture.

    Shapes   none.
    Units    degrees.
    Returns  a Move.
    Raises   nothing.
    Source   the baseline of Zhang et al. 2022, arXiv 2206.09391.
    """
    return _move(world, away(world, world.own), reword(world, world.image))


def in_turn(world: Ring, *, whole_set: bool = True) -> Move:
    """Words against the clean picture, the picture against the changed words, words again from the start.

    Shapes   none.
    Units    degrees; guided by all own captions, or by the first alone.
    Returns  a Move.
    Raises   nothing.
    Source   the order of stages of Lu et al. 2023, arXiv 2307.14061; Zhang et al. 2022 take one caption.
    """
    turned = tuple(a + t for a, t in zip(world.own, reword(world, world.image), strict=True))
    image = away(world, turned if whole_set else turned[:1])
    return _move(world, image, reword(world, image))


def _move(world: Ring, image: float, turns: tuple[float, ...]) -> Move:
    return Move(image, turns, gap(world, image, turns))


def _swaps(world: Ring) -> tuple[tuple[float, ...], ...]:
    return world.swaps or ((),) * len(world.own)


def _kinks(world: Ring, own: list[float]) -> list[float]:
    low, high = world.image - world.reach, world.image + world.reach
    spots = [*own, *world.other]
    middles = [(a + b) / 2 for a, b in itertools.combinations(spots, 2)]
    turned = [x + half for x in (*spots, *middles) for half in (-360, -180, 0, 180, 360)]
    return [low, high, *(x for x in turned if low <= x <= high)]
