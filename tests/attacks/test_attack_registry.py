"""One registry: what an attack climbs, which options it takes, whether it aims at a class; ours and those of a user."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_heads import Linear, images, read

from medadv._random import Streams
from medadv.attacks import ATTACKS, PAIR_ATTACKS, Attack, pgd, suite
from medadv.attacks.registry import attack_calls
from medadv.objective import classify
from medadv.threat import Threat

LINF = Threat.parse("linf:4/255")


@pytest.fixture
def registry(monkeypatch):
    """The registry, as it was before once the test is over."""
    monkeypatch.setattr(ATTACKS, "_things", dict(ATTACKS._things))
    return ATTACKS


def world() -> tuple:
    head, image = Linear(4), images(6)
    return head, image, read(head, image)


def step(objective, image, threat, *, steps=1, generator):
    return pgd(objective, image, threat, steps=steps, generator=generator)


def whole(head, image, label, threat, *, generator, steps=1):
    return step(classify(head, label), image, threat, steps=steps, generator=generator)


def test_our_attacks_say_what_they_are():
    assert [name for name in ATTACKS if ATTACKS.get(name).targetable] == [
        *("fgsm", "pgd", "mifgsm", "apgd", "square", "ddn", "hopskipjump")
    ]
    assert all(ATTACKS.get(name).by_image for name in ATTACKS)
    assert {name for name in ATTACKS if "steps" in ATTACKS.get(name).options} == {
        *("pgd", "mifgsm", "apgd", "apgd-margin", "apgd-targeted", "ddn")
    }
    assert {"seed", "attacks", "file"} <= set(ATTACKS.get("suite").options)
    assert all("region" in ATTACKS.get(name).options for name in ATTACKS)
    assert list(PAIR_ATTACKS) == ["separate", "co_attack", "sga"]


@pytest.mark.parametrize(
    "mine", [whole, Attack(whole), Attack(step, classify), Attack(step, classify, targetable=True)]
)
def test_what_a_user_registers_is_called_as_ours_are(registry, mine):
    head, image, label = world()
    attack = registry.register("mine", mine)
    assert attack.options == {"steps"}
    assert not attack.by_image
    got = ATTACKS.get("mine")(head, image, label, LINF, generator=torch.Generator().manual_seed(1), steps=3)
    expected = ATTACKS.get("pgd")(head, image, label, LINF, generator=torch.Generator().manual_seed(1), steps=3)
    assert torch.equal(got.image, expected.image)
    assert suite(head, image, label, LINF, attacks=["mine"]).by == suite(head, image, label, LINF, attacks="mine").by
    call = attack_calls(["mine"], options={"steps": 2}, towards=attack.targetable)["mine"]
    assert call.options == {"steps": 2}
    target = (label + 1) % 4 if attack.targetable else None
    found = call(head, image, label, target, LINF, torch.Generator().manual_seed(1))
    assert found.cost.backwards <= 2 * len(image)
    with pytest.raises(ValueError, match="takes no 'region'"):
        attack_calls(["mine"], region=True)
    with pytest.raises(ValueError, match="must hold attacks that take a region; got 'mine'"):
        suite(head, image, label, LINF, attacks=["mine"], region=torch.ones(image.shape[2:], dtype=torch.bool))
    if not attack.targetable:
        with pytest.raises(ValueError, match="'mine' aims at no class. With a target use fgsm, pgd"):
            attack_calls(["mine"], towards=True)


def test_functions_by_name_draw_from_one_generator_for_each_batch():
    calls = attack_calls({"mine": whole, "ours": ATTACKS.get("pgd")})
    assert [call.attack.by_image for call in calls.values()] == [False, False]
    assert attack_calls(["pgd"])["pgd"].attack.by_image


def test_a_target_does_not_put_ours_in_the_place_of_a_function_of_the_same_name():
    with pytest.raises(ValueError, match="'pgd' aims at no class"):
        attack_calls({"pgd": whole}, towards=True)


def test_an_attack_on_labels_cannot_be_aimed():
    with pytest.raises(ValueError, match="'targetable' parameter of Attack must be left out"):
        Attack(whole, targetable=True)


def test_the_suite_draws_from_the_streams_of_its_images():
    head, image, label = world()
    plan = {"attacks": {"square": partial(ATTACKS.get("square"), queries=5)}}
    one = ATTACKS.get("suite")(head, image, label, LINF, generator=Streams.of(torch.arange(6), 1), **plan)
    other = ATTACKS.get("suite")(head, image[3:], label[3:], LINF, generator=Streams.of(torch.arange(3, 6), 1), **plan)
    assert torch.equal(one.image[3:], other.image)
