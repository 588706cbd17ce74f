"""The attacks on pairs against short references: plain loops, one image, one scale and one text at a time."""

from __future__ import annotations

import pytest
import torch
from pairs_world import SmallVLM, SwapLetters, pairs_data
from torch.nn import functional as F

from medadv.attacks.multimodal import co_attack, separate, sga
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import Score

THREAT = Threat.parse("linf:8/255")
SCALES = (0.5, 0.75, 1.25, 1.5)


def climb(loss_of, image, steps, step, noises, gen):
    """Sign steps from a random start; of the points visited the best. loss_of(i, x, noise) -> (loss, won)."""
    x = THREAT.start(image, generator=gen)
    best, top = image.clone(), [(False, -float("inf"))] * len(image)
    for t in range(steps + 1):
        noise = [torch.randn(x.shape, generator=gen) for _ in range(noises)]
        for i in range(len(x)):
            one = x[i : i + 1].clone().requires_grad_()
            with torch.enable_grad():
                loss, won = loss_of(i, one, [z[i : i + 1] for z in noise])
            if (won, loss.item()) > top[i]:
                best[i], top[i] = one.detach()[0], (won, loss.item())
            if t < steps:
                (gradient,) = torch.autograd.grad(loss, one)
                x[i] = (image[i] + (one[0] + step * gradient[0].sign() - image[i]).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    return best.detach()


def lost(seen, told, mine):
    near = (told @ seen.detach()).tolist()
    return max(n for m, n in enumerate(near) if m not in mine) >= max(near[m] for m in mine)


def away(anchor):
    """Text i away from image embedding i, by cosine."""
    return Objective(lambda e, a: Score(-(e * a).sum(1), torch.zeros(len(e), dtype=torch.bool)), (anchor,))


def kl_away(anchor):
    def judge(e, a):
        return Score((e.softmax(1) * (e.softmax(1).log() - a.softmax(1).log())).sum(1), e[:, 0] > 2)

    return Objective(judge, (anchor,))


def sga_reference(vlm, image, text, owner, steps, gen):
    rewrite = SwapLetters(vlm)
    with torch.no_grad():
        told = vlm.encode_text(rewrite(away(vlm.encode_image(image)[owner]), text).text)

    def loss_of(i, x, noise):
        mine = [m for m in range(len(text)) if owner[m] == i]
        loss = -sum(vlm.encode_image(x)[0] @ told[m] for m in mine) / len(mine)
        for scale, z in zip(SCALES, noise, strict=True):
            small = [int(scale * side) for side in x.shape[-2:]]
            there = F.interpolate(x + 0.05 * z, small, mode="bicubic", antialias=True).clamp(0, 1)
            back = F.interpolate(there, x.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
            loss = loss - sum(vlm.encode_image(back)[0] @ told[m] for m in mine) / len(mine)
        return loss, lost(vlm.encode_image(x)[0], told, mine)

    moved = climb(loss_of, image, steps, THREAT.eps / 4, len(SCALES), gen)
    with torch.no_grad():
        return moved, rewrite(away(vlm.encode_image(moved)[owner]), text).text


def co_attack_reference(vlm, image, text, owner, steps, gen, alpha=3.0, together=False):
    rewrite = SwapLetters(vlm)
    with torch.no_grad():
        clean = vlm.encode_image(image)
        told = vlm.encode_text(rewrite(kl_away(clean[owner]), text).text)

    def kl(p, q):
        return (p.softmax(0) * (p.softmax(0).log() - q.softmax(0).log())).sum()

    def loss_of(i, x, noise):
        mine = [m for m in range(len(text)) if owner[m] == i]
        guide = mine if together else mine[:1]
        seen = vlm.encode_image(x)[0]
        loss = kl(seen, clean[i]) + alpha * sum(kl(seen, told[m]) for m in guide) / len(guide)
        return loss, lost(seen, told, mine)

    moved = climb(loss_of, image, steps, 1.25 * THREAT.eps / steps, 0, gen)
    with torch.no_grad():
        return moved, rewrite(kl_away(vlm.encode_image(moved)[owner]), text).text


def both(ours, reference, captions, **how):
    vlm = SmallVLM().eval()
    image, text, owner = pairs_data(captions=captions, seed=captions)
    shuffle = torch.randperm(len(text), generator=torch.Generator().manual_seed(1))
    text, owner = [text[m] for m in shuffle], owner[shuffle]
    gens = [torch.Generator().manual_seed(3) for _ in range(2)]
    got = ours(vlm, image, text, THREAT, owner=owner, text_attack=SwapLetters(vlm), steps=4, generator=gens[0], **how)
    moved, words = reference(vlm, image, text, owner, 4, gens[1], **how)
    assert (got.image - image).abs().max() > 4 / 255
    assert got.text != text
    assert (got.image - moved).abs().max() < 1e-5
    assert got.text == words


@pytest.mark.parametrize("captions", [1, 3])
def test_sga_is_its_reference(captions):
    both(sga, sga_reference, captions)


@pytest.mark.parametrize("captions", [1, 3])
@pytest.mark.parametrize("together", [False, True])
def test_co_attack_is_its_reference(captions, together):
    both(co_attack, co_attack_reference, captions, together=together)


def test_separate_attacks_the_clean_other_side():
    vlm = SmallVLM().eval()
    image, text, owner = pairs_data()
    gens = [torch.Generator().manual_seed(3) for _ in range(2)]
    attack = SwapLetters(vlm)
    got = separate(vlm, image, text, THREAT, owner=owner, text_attack=attack, steps=4, generator=gens[0])
    with torch.no_grad():
        told, seen = vlm.encode_text(text), vlm.encode_image(image)

    def loss_of(i, x, noise):
        mine = [m for m in range(len(text)) if owner[m] == i]
        embedded = vlm.encode_image(x)[0]
        return -sum(embedded @ told[m] for m in mine) / len(mine), lost(embedded, told, mine)

    assert (got.image - climb(loss_of, image, 4, 2.5 * THREAT.eps / 4, 0, gens[1])).abs().max() < 1e-5
    assert got.text == SwapLetters(vlm)(away(seen[owner]), text).text
    assert len(attack.calls) == 1
