"""What every registered attack must keep to, whatever the batch, the classes, the shape and the threat."""

from __future__ import annotations

import pytest
import torch
from small_heads import OPTIONS, Small, attack, images, read

from medadv.attacks import ATTACKS, apgd, fgsm, mifgsm, pgd, square
from medadv.objective import classify, targeted
from medadv.threat import Threat

NAMES = ATTACKS.names()
THREATS = ("linf:6/255", "l2:0.8", "l1:5", "linf:6/255:grey", "l2:0.8:grey", "l1:5:grey")
each = pytest.mark.parametrize("name", NAMES)
classes = pytest.mark.parametrize("k", [2, 3, 9])
shapes = pytest.mark.parametrize("shape", [(16, 16), (12, 20)])


def can(name: str, threat: str) -> bool:
    if name == "ddn":
        return threat.startswith("l2")
    return not (threat.startswith("l1") and name in ("square", "suite", "hopskipjump"))


def line(name: str, told: str = "linf:6/255") -> str:
    """A threat the attack can work with."""
    return "l2:0.8" if name == "ddn" else told


def scene(k: int, shape=(16, 16), n: int = 8, grey: bool = False):
    """A head in training mode, images, and labels of which most are what the head says."""
    head = Small(k).train()
    image = images(n, shape, grey=grey)
    label = read(head, image)
    label[n // 2 + 1 : n // 2 + 2] += 1
    return head, image, label % k


def masks(n: int, shape=(16, 16)) -> torch.Tensor:
    """A region of its own for each image: a block, scattered pixels, nothing."""
    mask = torch.zeros(n, 1, *shape, dtype=torch.bool)
    mask[0, :, 3:9, 5:14] = True
    mask[1] = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)) < 0.3
    return mask


@pytest.mark.parametrize("told", [*THREATS, "l2:0.8 restarts"])
@each
def test_nothing_outside_the_region_changes(name, told):
    told, _, more = told.partition(" ")
    if (more and name not in ("pgd", "apgd", "apgd-targeted")) or not can(name, told):
        return
    threat = Threat.parse(told)
    head, image, _ = scene(4, (12, 20), 4, threat.grey)
    head.out.weight.data *= 0.2  # hard to fool, so that steps are taken
    label, mask = read(head, image), masks(4, (12, 20))
    options = {"restarts": 2} if more else {"queries": 40} if name == "square" else {}
    found = attack(name, head, image, label, threat, region=mask, **options)
    changed = (found.image != image).any(1, keepdim=True)
    assert not changed[~mask].any()
    moved = changed[:2].flatten(1).any(1)
    if name != "hopskipjump":  # whose random start may not find a way; tests/attacks/test_decision.py has one that does
        assert moved.any() if name == "square" else moved.all(), "few queries may raise the loss of one image only"
    assert torch.equal(found.image[2:], image[2:]), "an empty region leaves the image as it is"
    assert (threat.size(found.image, image) <= threat.eps * (1 + 1e-4)).all()
    assert torch.equal(found.won, read(head, found.image) != label)
    one = attack(name, head, image, label, threat, region=mask[0, 0].float(), **options)
    assert torch.equal(one.image[:, :, ~mask[0, 0]], image[:, :, ~mask[0, 0]])


@each
def test_a_region_of_another_shape_is_refused(name):
    head, image, label = scene(3)
    for wrong in (torch.ones(8, 16), torch.ones(3, 1, 16, 16), torch.ones(8, 16, 16), torch.ones(8, 3, 16, 16)):
        with pytest.raises(ValueError, match="'region' parameter of an attack must be .16, 16. or .*Resize the mask"):
            attack(name, head, image, label, line(name), region=wrong)
    with pytest.raises(ValueError, match="bool, or 0 and 1; got values from 255 to 255. Write mask > 0"):
        attack(name, head, image, label, line(name), region=torch.full((16, 16), 255))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each
def test_half_precision_images_are_refused(name, dtype):
    head, image, label = scene(3)
    with pytest.raises(ValueError, match="Use image.float"):
        attack(name, head, image.to(dtype), label, line(name, "linf:1/255"))


@each
def test_the_default_number_format_changes_nothing(name):
    head, image, label = scene(3)
    for told in ("linf:2/255", "l2:0.3", "l1:5"):
        if not can(name, told):
            continue
        usual = attack(name, head, image, label, told)
        torch.set_default_dtype(torch.float64)
        try:
            found = attack(name, head, image, label, told)
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(found.image, usual.image)
        assert torch.equal(found.loss, usual.loss)
        assert found.loss.dtype == torch.float32


@each
def test_a_threat_may_be_a_line(name):
    head, image, label = scene(3)
    run = ATTACKS.get(name)
    found = run(
        head, image, label, line(name, "linf:2/255"), generator=torch.Generator().manual_seed(0), **OPTIONS[name]
    )
    assert torch.equal(found.image, attack(name, head, image, label, line(name, "linf:2/255")).image)
    with pytest.raises(ValueError, match="must be a Threat or a line; got float"):
        run(head, image, label, 0.1)


@each
def test_a_model_in_training_mode_behind_a_function_keeps_its_statistics(name):
    head, image, label = scene(3)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    found = attack(name, lambda x: head(x), image, label, line(name))
    assert head.training
    assert all(torch.equal(before[key], value) for key, value in head.state_dict().items())
    assert torch.equal(found.image, attack(name, head, image, label, line(name)).image)


def test_everything_is_registered_here():
    assert set(NAMES) == set(OPTIONS)
    with pytest.raises(ValueError, match="no attack named 'apdg'. Did you mean apgd"):
        ATTACKS.get("apdg")


@shapes
@classes
@pytest.mark.parametrize("n", [1, 3, 8])
@each
def test_inside_the_ball_and_the_box_and_no_trace(name, n, k, shape):
    for told in THREATS:
        threat = Threat.parse(told)
        if not can(name, told) or (threat.grey and n != 3):
            continue
        head, image, label = scene(k, shape, n, threat.grey)
        kept, before = image.clone(), {key: value.clone() for key, value in head.state_dict().items()}
        head.out.eval()  # modes may be mixed, and each part keeps its own
        state = torch.get_rng_state()
        found = attack(name, head, image, label, threat)
        assert torch.equal(torch.get_rng_state(), state)
        assert head.training
        assert not head.out.training
        assert all(part.grad is None for part in head.parameters())
        assert all(torch.equal(before[key], value) for key, value in head.state_dict().items())
        assert torch.equal(image, kept)
        assert not image.requires_grad
        assert found.image.shape == image.shape
        assert not found.image.requires_grad
        assert not found.loss.requires_grad
        assert found.won.shape == found.loss.shape == (n,)
        assert (threat.size(found.image, image) <= threat.eps * (1 + 1e-4)).all()
        assert 0 <= found.image.min() <= found.image.max() <= 1
        if threat.grey:
            assert torch.equal(found.image[:, 0], found.image[:, 2])
        assert torch.equal(found.won, read(head, found.image) != label)
        assert found.cost.forwards >= n
        assert found.cost.seconds > 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@each
def test_works_where_gradients_are_off(name, mode):
    head, image, label = scene(3)
    usual = attack(name, head, image, label, line(name))
    with mode():
        image, label = image.clone(), label.clone()  # under inference_mode these can take part in no gradient
        found = attack(name, head, image, label, line(name), region=torch.ones(16, 16))
    assert not found.image.is_inference()
    torch.testing.assert_close(found.image.clone(), usual.image)
    assert torch.equal(found.won, usual.won)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("told", ["linf:6/255", "l2:0.8", "l1:5"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "mifgsm", "apgd", "apgd-margin", "apgd-targeted"])
def test_the_same_alone_or_in_a_batch(name, told, stop):
    head, image, label = scene(5)
    head.double()
    image = image.double()
    options = {} if name in ("fgsm", "mifgsm") else {"random_start": False}
    options |= {} if name == "fgsm" else {"stop": stop}
    whole = attack(name, head, image, label, told, **options)
    for i in range(len(image)):
        alone = attack(name, head, image[[i]], label[[i]], told, **options)
        torch.testing.assert_close(alone.image, whole.image[[i]], atol=1e-6, rtol=0)
        assert alone.won == whole.won[[i]]


@classes
@each
def test_a_ball_of_size_nothing_is_the_clean_image(name, k):
    for told in ("linf:0", "l2:0", "l1:0"):
        if can(name, told):
            head, image, label = scene(k)
            found = attack(name, head, image, label, told)
            assert torch.equal(found.image, image)
            assert torch.equal(found.won, read(head, image) != label)


@classes
@each
def test_where_all_is_fooled_already(name, k):
    head, image, label = scene(k)
    head.out.bias.data[k - 1] += 100  # no step of this size brings them back
    label = torch.zeros_like(label)
    found = attack(name, head, image, label, line(name, "linf:1/255"))
    assert found.won.all()
    assert found.cost.backwards <= len(image)
    if name in ("fgsm", "mifgsm", "apgd-targeted", "square", "suite", "ddn", "hopskipjump"):
        assert torch.equal(found.image, image)


@each
def test_no_images(name):
    head, image, label = scene(3)
    found = attack(name, head, image[:0], label[:0], line(name))
    assert found.image.shape == (0, 3, 16, 16)
    assert len(found) == len(found.won) == len(found.loss) == 0


@each
def test_the_generator_decides(name):
    head, image, label = scene(4)
    head.out.weight.data *= 0.1  # hard to fool, so that nobody leaves at once
    one, same, other = (attack(name, head, image, label, line(name, "linf:2/255"), seed=s) for s in (1, 1, 2))
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.loss, same.loss)
    if name not in ("fgsm", "mifgsm", "ddn", "hopskipjump"):  # the last finds no start on a head this flat
        assert not torch.equal(one.image, other.image)


@pytest.mark.parametrize("told", ["linf:6/255", "l2:0.8", "l1:5"])
@pytest.mark.parametrize("verb", [fgsm, pgd, mifgsm, apgd, square])
def test_towards_a_class_its_probability_rises(verb, told):
    if verb is square and told.startswith("l1"):
        return
    head, image, _ = scene(4)
    goal = (read(head, image) + 1) % 4
    options = {fgsm: {}, pgd: {"steps": 5, "stop": False}, apgd: {"steps": 8, "stop": False}}.get(verb, {"stop": False})
    if verb is square:
        options["queries"] = 60
    if verb in (pgd, apgd, square):
        options["generator"] = torch.Generator().manual_seed(0)
    want = targeted(head, goal)
    before = head.eval()(image).log_softmax(1).gather(1, goal[:, None])[:, 0]
    found = verb(want, image, Threat.parse(told), **options)
    after = head(found.image).log_softmax(1).gather(1, goal[:, None])[:, 0]
    assert (after > before).all()
    assert torch.equal(found.won, head(found.image).argmax(1) == goal)


@pytest.mark.parametrize("told", ["linf:3/255", "l2:0.5", "l1:5"])
@pytest.mark.parametrize("verb", [pgd, apgd])
def test_more_restarts_are_never_worse(verb, told):
    head, image, label = scene(4)
    want, threat = classify(head, label), Threat.parse(told)
    # Each copy has a start of its own; the best of them all is what the best of single runs would be.
    many = verb(want, image, threat, steps=5, restarts=3, stop=False, generator=torch.Generator().manual_seed(0))
    flat = threat.start(image.repeat(3, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    for r in range(3):
        begun = flat[r * 8 : r * 8 + 8]
        given = type("Given", (Threat,), {"start": lambda self, image, *, generator=None, begun=begun: begun})
        one = verb(want, image, given(threat.norm, threat.eps), steps=5, stop=False)
        assert (many.won | ~one.won).all()
        equal = many.won == one.won
        assert (many.loss >= one.loss - 1e-5)[equal].all()
    assert many.cost.backwards == 3 * 5 * 8
    with pytest.raises(ValueError, match="'restarts' parameter of an attack must be at least 1; got 0"):
        verb(want, image, threat, restarts=0)
