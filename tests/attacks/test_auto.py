"""Auto-PGD against the published algorithm, written out with its history of losses."""

from __future__ import annotations

import pytest
import torch
from small_heads import Small, images, read

from medadv._l1 import into_ball_and_box, strongest
from medadv.attacks import apgd, apgd_targeted, pgd
from medadv.objective import Objective, classify, targeted_dlr_loss
from medadv.threat import Threat
from medadv.types import Score


def published(want, image, threat, steps, rho=0.75):
    """Croce and Hein 2020, algorithm 1, from the clean image, one image at a time; L-inf and L2."""
    points, losses = [], []
    for i in range(len(image)):
        x0, one = image[i : i + 1], want.keep(torch.tensor([i]))

        def ask(x, one=one):
            x = x.clone().requires_grad_()
            loss = one(x).loss
            return float(loss.detach()), torch.autograd.grad(loss.sum(), x)[0]

        def ball(x, x0=x0):
            moved = x - x0
            if threat.norm == "linf":
                return (x0 + moved.clamp(-threat.eps, threat.eps)).clamp(0, 1)
            return (x0 + moved * min(1, threat.eps / max(float(moved.norm()), 1e-30))).clamp(0, 1)

        x, old, step = x0, x0, 2 * threat.eps
        loss, slope = ask(x)
        best, best_slope, history, highest = x, slope, [loss], [loss]
        wait, look, halved, at_look = max(int(0.22 * steps), 1), max(int(0.22 * steps), 1), True, loss
        for k in range(1, steps + 1):
            up = slope.sign() if threat.norm == "linf" else slope / slope.norm().clamp_min(1e-30)
            z = ball(x + step * up)
            new = z if k == 1 else ball(x + 0.75 * (z - x) + 0.25 * (x - old))
            old, x = x, new
            loss, slope = ask(x)
            history.append(loss)
            if loss > highest[-1]:
                best, best_slope = x, slope
            highest.append(max(loss, highest[-1]))
            if k == look:
                rises = sum(history[j] > history[j - 1] for j in range(k - wait + 1, k + 1))
                new_halved = rises <= rho * wait or (not halved and at_look >= highest[-1])
                if new_halved:
                    step, x, slope = step / 2, best, best_slope
                halved, at_look = new_halved, highest[-1]
                wait = max(wait - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
                look += wait
        points.append(best)
        losses.append(highest[-1])
    return torch.cat(points), torch.tensor(losses)


def scene(k: int = 5, n: int = 6, double: bool = True):
    head = Small(k).eval()
    image = images(n)
    label = read(head, image)
    return (head.double(), image.double(), label) if double else (head, image, label)


@pytest.mark.parametrize("wish", ["entropy", "ratio"])
@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize("told", ["linf:3/255", "l2:0.5"])
def test_equals_the_published_algorithm(told, steps, wish):
    head, image, label = scene()
    wish = {"entropy": entropy, "ratio": ratio}[wish]

    def judge(x, label):  # in double precision: a rise must not hang on rounding; and nothing wins
        loss = wish(head(x), label)
        return Score(loss, torch.zeros_like(loss, dtype=torch.bool))

    want, threat = Objective(judge, (label,), (head,)), Threat.parse(told)
    found = apgd(want, image, threat, steps=steps, random_start=False, stop=False)
    point, loss = published(want, image, threat, steps)
    torch.testing.assert_close(found.loss, loss, atol=1e-5, rtol=1e-5)
    # The sign of a slope of next to nothing hangs on rounding, so a few values may differ.
    assert ((found.image - point).abs() < 1e-6).double().mean() > 0.99
    assert found.cost[:2] == ((steps + 1) * len(image), steps * len(image))


def entropy(logits, label):
    return torch.nn.functional.cross_entropy(logits, label, reduction="none")


def ratio(logits, label):
    top = logits.sort(1, descending=True).values
    other = logits.scatter(1, label[:, None], -torch.inf).amax(1)
    return (other - logits.gather(1, label[:, None])[:, 0]) / (top[:, 0] - top[:, 2])


def test_stopping_saves_passes_and_loses_nobody():
    head, image, label = scene(n=8, double=False)
    threat = Threat.parse("linf:16/255")
    told = {"steps": 30, "generator": torch.Generator().manual_seed(0)}
    early = apgd(classify(head, label), image, threat, **told)
    told["generator"].manual_seed(0)
    late = apgd(classify(head, label), image, threat, stop=False, **told)
    assert torch.equal(early.won, late.won)
    assert early.won.any()
    assert early.cost.backwards < late.cost.backwards == 8 * 30
    assert (late.loss >= early.loss - 1e-6).all()


@pytest.mark.parametrize("told", ["linf:2/255", "l2:0.3", "l1:3", "linf:2/255:grey", "l1:3:grey"])
def test_climbs_higher_than_equal_steps(told):
    threat = Threat.parse(told)
    head, image = Small(5).eval(), images(8, grey=threat.grey)
    want = classify(head, read(head, image))
    found = apgd(want, image, threat, steps=40, random_start=False, stop=False)
    plain = pgd(want, image, threat, steps=40, random_start=False, stop=False)
    assert found.loss.mean() > 0.98 * plain.loss.mean()
    assert (found.loss > want(image).loss).all()


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_the_targeted_loss_by_hand(k):
    logits = torch.randn(20, k, generator=torch.Generator().manual_seed(k))
    label, target = torch.arange(20) % k, (torch.arange(20) + 1) % k
    found = targeted_dlr_loss(logits, label, target)
    for row, y, t, loss in zip(logits.tolist(), label, target, found.tolist(), strict=True):
        order = sorted(row, reverse=True)
        spread = 1.0 if k == 2 else order[0] - (order[2] if k == 3 else (order[2] + order[3]) / 2)
        assert loss == pytest.approx((row[t] - row[y]) / spread, rel=1e-4)


@pytest.mark.parametrize("k", [2, 3, 9])
def test_targets_are_cut_to_the_classes_there_are(k):
    head, image, label = scene(k, double=False)
    few = apgd_targeted(head, image, label, Threat.parse("linf:0.1/255"), targets=50, steps=3, stop=False)
    assert few.cost.backwards == (k - 1) * 3 * len(image)
    one = apgd_targeted(head, image, label, Threat.parse("linf:0.1/255"), targets=1, steps=3, stop=False)
    assert one.cost[:2] == (len(image) * 5, len(image) * 3)


def test_doors():
    head, image, label = scene(double=False)
    threat = Threat.parse("linf:1/255")
    with pytest.raises(ValueError, match="'steps' parameter of apgd must be at least 1; got 0"):
        apgd(classify(head, label), image, threat, steps=0)
    with pytest.raises(ValueError, match="'rho' parameter of apgd must be in"):
        apgd(classify(head, label), image, threat, rho=1.5)
    with pytest.raises(ValueError, match="'targets' parameter of apgd_targeted must be at least 1"):
        apgd_targeted(head, image, label, threat, targets=0)
    with pytest.raises(ValueError, match="got 7"):
        apgd_targeted(head, image, torch.full_like(label, 7), threat)
    with pytest.raises(ValueError, match="Did you normalise"):
        apgd(classify(head, label), image * 3 - 1, threat)


@pytest.mark.parametrize(("seed", "scale", "n"), [(0, 1.0, 30), (1, 0.1, 300), (2, 3.0, 36), (3, 30.0, 12)])
def test_the_nearest_point_of_ball_and_box(seed, scale, n):
    stream = torch.Generator().manual_seed(seed)
    image = torch.rand(5, n, generator=stream, dtype=torch.float64).round(decimals=1)
    moved = scale * torch.randn(5, n, generator=stream, dtype=torch.float64)
    for radius in (0.0, 0.5, 3.0, 100.0):
        near = into_ball_and_box(moved, image, radius)
        for i in range(5):
            wall = torch.where(moved[i] > 0, 1 - image[i], image[i])
            low, high = 0.0, float(moved[i].abs().max())
            for _ in range(200):
                cut = (low + high) / 2
                length = (moved[i].abs() - cut).clamp_min(0).minimum(wall)
                low, high = (cut, high) if length.sum() > radius else (low, cut)
            length = (moved[i].abs() - (high if high > 1e-9 else 0)).clamp_min(0).minimum(wall)
            torch.testing.assert_close(near[i], moved[i].sign() * length, atol=1e-9, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_the_strongest_entries_move_together(share):
    gradient = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    gradient[3] = 0
    unit = strongest(gradient, share)
    many = max(int(100 * share), 1)
    for row, slope in zip(unit[:3], gradient[:3], strict=True):
        moved = row.nonzero().flatten()
        assert sorted(moved.tolist()) == sorted(slope.abs().argsort(descending=True)[:many].tolist())
        torch.testing.assert_close(row[moved], slope[moved].sign() / many)
    assert not unit[3].any()
