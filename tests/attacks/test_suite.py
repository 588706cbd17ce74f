"""The suite: cheapest first, survivors only, the worst case of all, and a file from which it goes on."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import pytest
import torch
from small_heads import Linear, Small, images, read
from torch import nn

from medadv._random import Streams
from medadv.attacks import ATTACKS, SuiteResult, apgd, suite
from medadv.objective import classify, margin
from medadv.threat import Threat

LINF = Threat.parse("linf:3/255")


def small(**options):
    """A quick plan of three attacks, the later ones stronger."""
    return {
        "fgsm": ATTACKS.get("fgsm"),
        "apgd": partial(ATTACKS.get("apgd"), steps=6),
        "square": partial(ATTACKS.get("square"), queries=15),
        **options,
    }


def scene(k: int = 6, n: int = 22, seed: int = 0):
    head, image = Small(k, seed), images(n)
    label = read(head, image)
    label[3:4] = (label[3:4] + 1) % k  # one is wrong before anything happens
    return head.train(), image, label


def test_each_sees_only_what_the_ones_before_have_left():
    head, image, label = scene()
    seen = {}

    def spy(name):
        def attack(head, image, label, threat, *, generator):
            seen.setdefault(name, []).append(len(image))
            return ATTACKS.get(name)(head, image, label, threat, generator=generator, **options[name])

        return attack

    options = {"fgsm": {}, "apgd": {"steps": 6}, "square": {"queries": 15}}
    found = suite(head, image, label, LINF, attacks={name: spy(name) for name in options}, batch_size=8)
    left = 22
    assert found.by[3] == "clean"
    assert torch.equal(found.image[3], image[3])
    for name in ("clean", *options):
        if name != "clean":
            assert sum(seen[name]) == left
            assert max(seen[name]) <= 8
        left -= found.by.count(name)
    assert left == found.counts().get("", 0) == int((~found.won).sum())
    assert 0 < found.by.count("fgsm") < 21
    assert head.training


def test_a_win_is_one_that_a_further_pass_confirms():
    head, image, label = scene()
    head.eval()
    found = suite(head, image, label, LINF, attacks=small())
    assert torch.equal(found.won, read(head, found.image) != label)
    assert [bool(name) for name in found.by] == found.won.tolist()
    torch.testing.assert_close(found.loss, margin(head, label)(found.image).loss.detach(), atol=1e-4, rtol=1e-3)
    assert (LINF.size(found.image, image) <= LINF.eps * 1.0001).all()
    assert isinstance(found[:4], SuiteResult)
    assert found[[3, 0]].by == ["clean", found.by[0]]
    assert repr(found).startswith("SuiteResult(")

    def boasts(head, image, label, threat, *, generator):  # says it won everywhere and moved nothing
        result = apgd(classify(head, label), image, Threat.parse("linf:0"), steps=1)
        return type(result)(result.image, torch.ones_like(result.won), result.loss, result.cost)

    assert suite(head, image, label, LINF, attacks={"boasts": boasts}).won.sum() == 1


def test_the_standard_plan_is_no_weaker_than_its_parts():
    head, image, label = scene(n=10)
    head.out.weight.data *= 3
    threat = Threat.parse("linf:1.5/255")
    found = suite(head, image, label, threat, batch_size=4)
    alone = apgd(classify(head, label), image, threat, generator=torch.Generator().manual_seed(0))
    assert found.won.sum() >= alone.won.sum()
    assert set(found.by) <= {"clean", "apgd", "apgd-targeted", "square", ""}
    sparse = suite(head, image, label, Threat.parse("l1:2"), batch_size=4)
    assert set(sparse.by) <= {"clean", "apgd", "apgd-targeted", ""}


class Masked(nn.Module):
    """A head that rounds pixels away: no gradient comes through."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, image):
        return self.head((image * 64).round() / 64)


@pytest.fixture
def few_queries(monkeypatch):
    monkeypatch.setattr(import_module("medadv.attacks.suite"), "QUERIES", 120)


def test_where_gradients_are_masked_square_goes_on(few_queries):
    head, image, _ = scene(n=6)
    head = Masked(head.eval())
    found = suite(head, image, read(head, image), Threat.parse("linf:3/255"))
    assert found.by.count("square") > 0
    assert found.cost.backwards == 6 * (100 + 5 * 100)  # they are all tried, in vain
    assert found.cost.forwards > 120 * found.by.count("")
    assert found.warning == ""


def test_the_verdict_of_an_image_hangs_on_neither_its_company_nor_the_batch_size():
    head, image, _ = scene(n=5)
    head, image = Masked(head.eval()).double(), image.double()  # so that kernels for other batch sizes decide nothing
    label, threat, seeds = read(head, image), Threat.parse("linf:12/255"), torch.arange(5) + 40
    plan = {
        "apgd": partial(ATTACKS.get("apgd"), steps=2, restarts=2),
        "apgd-targeted": partial(ATTACKS.get("apgd-targeted"), steps=2, targets=2),
        "square": partial(ATTACKS.get("square"), queries=25),
    }
    whole = suite(head, image, label, threat, attacks=plan, seed=seeds)
    assert 0 < whole.by.count("square") < 5
    for part in ([0], [1], [4, 2, 3]):
        some = suite(head, image[part], label[part], threat, attacks=plan, seed=seeds[part])
        assert some.by == [whole.by[i] for i in part]
        torch.testing.assert_close(some.image, whole.image[part])
    for size in (2, 3):
        small = suite(head, image, label, threat, attacks=plan, seed=seeds, batch_size=size)
        assert small.by == whole.by
        torch.testing.assert_close(small.image, whole.image)


def test_one_seed_for_all_images_does_not_know_the_batch_size():
    head, image, _ = scene(n=4)
    head, image = Masked(head.eval()).double(), image.double()
    plan = {"square": partial(ATTACKS.get("square"), queries=12)}
    how = {"attacks": plan, "label": read(head, image), "threat": "linf:12/255"}
    one, other = (suite(head, image, seed=5, batch_size=size, **how) for size in (2, 4))
    torch.testing.assert_close(one.image, other.image)
    one, other = (  # through the list of attacks too
        ATTACKS.get("suite")(head, image, generator=Streams.of(torch.arange(4), 1), batch_size=size, **how)
        for size in (2, 4)
    )
    torch.testing.assert_close(one.image, other.image)
    assert (one.image != image).any()


class Noisy(nn.Module):
    """A head that answers at random."""

    def __init__(self, head):
        super().__init__()
        self.head, self.stream = head, torch.Generator().manual_seed(0)

    def forward(self, image):
        return self.head(image) + 0.05 * torch.randn(len(image), 6, generator=self.stream)


def test_the_random_plan_takes_the_mean_of_many_passes():
    head, image, _ = scene(n=5)
    found = suite(Noisy(head.eval()), image, read(head, image), Threat.parse("linf:6/255"), attacks="rand")
    assert set(found.by) <= {"clean", "apgd", "apgd-margin", ""}
    assert found.won.float().mean() >= 0.6
    assert (read(head, found.image) != read(head, image)).float().mean() >= 0.6
    assert found.cost.backwards % 20 == 0 < found.cost.backwards  # every draw is counted


class Dithered(Noisy):
    """Noise, then rounding: no gradient comes through, and the random plan knows no other way."""

    def forward(self, image):
        noise = torch.rand(image.shape, generator=self.stream)
        return self.head((image * 32 + noise).floor() / 32)


def test_the_random_plan_says_where_it_was_blind(caplog):
    head, image, _ = scene(n=3)
    plan = {"apgd": partial(ATTACKS.get("apgd"), steps=1)}
    label = read(head, image)
    sure = torch.ones(3, dtype=torch.bool)
    for kind, told in ((Dithered, "The gradient is zero for 3 of 3 images"), (Noisy, "")):
        import_suite = import_module("medadv.attacks.suite")
        model = kind(head.eval())
        warning, cost = import_suite._warning([], model, image, label, {"clean": -sure.float()}, True)
        assert warning.startswith(told)
        assert bool(warning) == bool(told)
        assert cost[:2] == (60, 60)
    assert not suite(Dithered(head), image, label, LINF, attacks=plan).warning
    found = suite(Cut(head), image, label, LINF, attacks=plan)
    assert found.by == ["", "", ""]
    assert found.warning.startswith("No gradient reaches the pixels, so apgd did not run.")
    assert "medadv.reports.doctor" in found.warning
    assert f"Warning: {found.warning}" in repr(found)
    assert found.warning in caplog.text


def test_the_random_plan_warns_of_dithered_quantisation(caplog):
    head, image, _ = scene(n=3)
    image = (image * 32).floor() / 32  # between two steps the dither decides; on a step it changes nothing
    result = suite(Dithered(head.eval()), image, read(head, image), LINF, attacks="rand")
    assert result.warning.startswith("The gradient is zero for 3 of 3 images")
    assert "medadv.reports.doctor" in result.warning
    assert "square" in result.warning
    assert result.warning in caplog.text


class Cut(nn.Module):
    """Weights that can be trained, and pixels that no gradient reaches."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, image):
        return self.head(image.detach())


def test_black_box_attacks_go_on_where_no_gradient_reaches_the_pixels(few_queries):
    head, image, _ = scene(n=4)
    label = read(head, image)
    found = suite(Cut(head), image, label, Threat.parse("linf:8/255"))
    assert found.by.count("square") > 0
    assert "apgd, apgd-targeted did not run" in found.warning


def test_a_model_that_breaks_down_on_clean_images_is_refused():
    head, image, label = scene(n=6)

    def broken(x):
        return torch.where((x[:, :1, 0, 0] == image[4, 0, 0, 0]), torch.nan, head(x))

    with pytest.raises(ValueError, match="NaN before any attack for 1 image.s., in row.s. 4;"):
        suite(broken, image, label, LINF, attacks=("fgsm",), batch_size=2)

    def later(x):  # only the clean images are read: the others are not counted as fooled
        clean = torch.stack([(x == one).flatten(1).all(1) for one in image]).any(0)
        return torch.where(clean[:, None], head(x), torch.nan)

    plan = {"pgd": partial(ATTACKS.get("pgd"), steps=2), "square": partial(ATTACKS.get("square"), queries=5)}
    found = suite(later, image, label, LINF, attacks=plan)
    assert found.by == ["", "", "", "clean", "", ""]


class Interrupted(nn.Module):
    """A head that fails at a certain pass."""

    fingerprint = "the head in it"  # not the passes that are left

    def __init__(self, head, after):
        super().__init__()
        self.head, self.left = head, after

    def forward(self, image):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the lights went out")
        return self.head(image)


@pytest.mark.parametrize("after", [4, 9, 17, 30, 45])
def test_goes_on_to_the_very_same_answer(after, tmp_path, monkeypatch):
    head, image, label = scene()
    head.eval()
    how = {"attacks": small(), "batch_size": 5, "seed": 4}
    whole = suite(head, image, label, LINF, **how)
    path = tmp_path / "deep" / "run.safetensors"
    with pytest.raises(RuntimeError, match="lights"):
        suite(Interrupted(head, after), image, label, LINF, file=path, **how)
    assert path.exists() == (after > 5)  # five batches of clean images come first, then the first batch of fgsm
    again = suite(Interrupted(head, 10**6), image, label, LINF, file=path, **how)
    for name in ("image", "won", "loss"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name
    assert again.by == whole.by
    assert again.cost[:3] == whole.cost[:3]
    done = Interrupted(head, 5)  # what is finished asks for the clean images only
    assert torch.equal(suite(done, image, label, LINF, file=path, **how).image, whole.image)
    assert list(path.parent.iterdir()) == [path]


def test_the_file_of_another_run_is_refused(tmp_path):
    head, image, label = scene(n=6)
    path = tmp_path / "run.safetensors"
    how = {"attacks": small(), "file": path}
    suite(head, image, label, LINF, **how)
    kept = path.read_bytes()
    with pytest.raises(ValueError, match="made with other images. Delete it or name another file"):
        suite(head, image.flip(0), label, LINF, **how)
    with pytest.raises(ValueError, match="other labels"):
        suite(head, image, label.flip(0), LINF, **how)
    for change in (
        {"seed": 1},
        {"batch_size": 2},
        {"attacks": ("fgsm",)},
        {"attacks": small(apgd=partial(ATTACKS.get("apgd"), steps=7))},
    ):
        with pytest.raises(ValueError, match="made with other (attacks|settings)"):
            suite(head, image, label, LINF, **{**how, **change})
    with pytest.raises(ValueError, match="other settings"):
        suite(head, image, label, Threat.parse("linf:4/255"), **how)
    with pytest.raises(ValueError, match="another head"):
        suite(Small(6, seed=9), image, label, LINF, **how)
    with pytest.raises(ValueError, match="with another head. Delete it"):  # of the same margins
        suite(lambda x: head(x), image, label, LINF, **how)
    assert path.read_bytes() == kept
    for damage in (b"", kept[:100], b"\x80\x04junk" * 50):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="is no file of suite"):
            suite(head, image, label, LINF, **how)


def test_the_seed_decides():
    head, image, label = scene(n=8)
    head.out.weight.data *= 0.3
    threat = Threat.parse("linf:1/255")
    one, same, other = (suite(head, image, label, threat, attacks=("apgd",), seed=s) for s in (1, 1, 2))
    assert torch.equal(one.image, same.image)
    assert not torch.equal(one.image, other.image)


def test_doors():
    head, image, label = scene(n=2)
    with pytest.raises(ValueError, match="no attack named 'standart'"):
        suite(head, image, label, LINF, attacks="standart")
    with pytest.raises(ValueError, match="must name other attacks"):
        suite(head, image, label, LINF, attacks=("suite",))
    with pytest.raises(ValueError, match="must name other attacks"):
        suite(head, image, label, LINF, attacks=())
    with pytest.raises(ValueError, match="Did you normalise"):
        suite(head, image * 3, label, LINF)
    with pytest.raises(ValueError, match="must be .B,. int64"):
        suite(head, image, label.float(), LINF)
    with pytest.raises(ValueError, match="must have one row for each of the 2 images; got 1"):
        suite(head, image, label[:1], LINF)
    assert suite(Linear(3), image, label[:2] % 3, LINF, attacks="fgsm", progress=True).image.shape == image.shape


def test_an_own_function_of_the_same_name_and_another_body_is_another_attack(tmp_path):
    head, image, label = scene(n=4)
    how = {"file": tmp_path / "run.safetensors", "batch_size": 4}

    def brighter(by):
        def mine(head, image, label, threat, *, generator):
            return apgd(classify(head, label), (image + by).clamp(0, 1), LINF, steps=1, generator=generator)

        return {"mine": mine}

    first = suite(head, image, label, LINF, attacks=brighter(0.0), **how)
    assert torch.equal(suite(head, image, label, LINF, attacks=brighter(0.0), **how).image, first.image)
    with pytest.raises(ValueError, match="made with other attacks. Delete it"):
        suite(head, image, label, LINF, attacks=brighter(0.001), **how)
    with pytest.raises(ValueError, match="made with other attacks"):
        suite(head, image, label, LINF, attacks={"mine": ATTACKS.get("fgsm")}, **how)


def test_what_cannot_be_told_from_others_needs_a_name_to_be_kept(tmp_path):
    head, image, label = scene(n=4)
    stream = torch.Generator()

    def random(x):
        return head(x) + 1e-6 * torch.rand(len(x), 1, generator=stream)

    how = {"attacks": ("fgsm",), "file": tmp_path / "run.safetensors"}
    with pytest.raises(ValueError, match="'head' parameter of suite .* holds a Generator .* attribute 'fingerprint'"):
        suite(random, image, label, LINF, **how)
    random.fingerprint = "small, with a little noise"
    suite(random, image, label, LINF, **how)
