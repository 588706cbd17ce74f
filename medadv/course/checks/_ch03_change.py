"""Checks of chapter 3, exercises 1 to 3: what may be written, the best exchange, the set-level loss."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medadv.course.checks import Verdict, judge


def q1(answer: Callable) -> Verdict:
    """Check `allowed(before, after, words, protected)`: is a text within reach?

    Shapes   two texts, a number and a set of words; result a truth value.
    Units    words as split at spaces.
    Returns  a Verdict.
    Raises   nothing.
    Source   `medadv.threat.TextThreat.allows`, without punctuation.
    """

    def make(
        length: bool = True, go: bool = True, come: bool = True, count: Callable = lambda n, w: n <= w
    ) -> Callable:
        def allowed(before, after, words, protected):
            old, new = before.split(), after.split()
            changed = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
            touched = any((go and a in protected) or (come and b in protected) for a, b in changed)
            return (not length or len(old) == len(new)) and count(len(changed), words) and not touched

        return allowed

    def as_sets(before, after, words, protected):
        gone, new = set(before.split()) - set(after.split()), set(after.split()) - set(before.split())
        fits = len(before.split()) == len(after.split()) and max(len(gone), len(new)) <= words
        return fits and not ((gone | new) & protected)

    def anywhere(before, after, words, protected):
        return make()(before, after, words, protected) and not set(before.split()) & protected

    wrong = {
        "only words that go are guarded: 'a nodule' may become 'no nodule'.": make(come=False),
        "only words that come are guarded: 'left' may become 'leftt'.": make(go=False),
        "protected words are not looked at: left and right are one word apart.": make(go=False, come=False),
        "the text may become longer or shorter; compare the numbers of words first.": make(length=False),
        "the budget is taken as 'fewer than'; so many words may change.": make(count=lambda n, w: n < w),
        "exactly so many words are asked for; fewer are allowed too.": make(count=lambda n, w: n == w),
        "any number of words may change; count them.": make(count=lambda n, w: True),
        "that compares sets: two words may change places unseen.": as_sets,
        "a protected word that stays where it was is no reason to refuse.": anywhere,
    }
    guard = {"left", "right", "no", "mild", "severe"}
    told = "mild opacity on the left"
    texts = [
        (told, told, 1),
        (told, "mild opacification on the left", 1),
        (told, "mild opacification at the left", 1),
        (told, "mild opacification at the left", 2),
        (told, "severe opacity on the left", 1),
        (told, "mild opacity on the leftt", 1),
        ("a nodule is seen", "no nodule is seen", 1),
        (told, "mild opacity on the left side", 1),
        (told, "opacity mild on the left", 2),
        ("the film shows it", "it film shows the", 1),
        ("a nodule", "a nodule", 0),
        ("a film", "one image", 1),
    ]
    cases = [(a, b, n, guard, make()(a, b, n, guard)) for a, b, n in texts]
    return judge("q1", answer, cases, wrong, help="Go through the words place by place; look at both of each pair.")


def q2(answer: Callable) -> Verdict:
    """Check `best_flip(table, tokens, gradient)`: the exchange of the largest first-order gain.

    Shapes   table (V, D), tokens (L,), gradient (L, D); result (place, token).
    Units    none.
    Returns  a Verdict.
    Raises   nothing.
    Source   Ebrahimi et al. 2018, arXiv 1712.06751.
    """

    def best(gain):
        return divmod(int(gain.argmax()), gain.shape[1])

    def right(table, tokens, g):
        return best(g @ table.T - (table[tokens] * g).sum(1, keepdim=True))

    wrong = {
        "what the present token contributes is not subtracted, so the wrong place wins.": lambda t, k, g: best(g @ t.T),
        "that is the smallest gain: the attacker climbs.": lambda t, k, g: right(t, k, -g),
        "place and token are the wrong way round.": lambda t, k, g: right(t, k, g)[::-1],
        "that is the token nearest to embedding plus gradient; the gain is a scalar product.": lambda t, k, g: best(
            -torch.cdist(t[k] + g, t)
        ),
        "the lengths of the embeddings are divided out; the gain is no cosine.": lambda t, k, g: best(
            torch.nn.functional.cosine_similarity(t[None] - t[k][:, None], g[:, None], dim=2)
        ),
    }
    cases = []
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        table = torch.randn(12, 6, generator=draw) * (1 + torch.rand(12, 1, generator=draw))
        tokens = torch.randint(0, 12, (5,), generator=draw)
        gradient = torch.randn(5, 6, generator=draw)
        cases.append((table, tokens, gradient, right(table, tokens, gradient)))
    return judge("q2", answer, cases, wrong, help="Gains are (places, tokens); the largest cell is wanted.")


def q3(answer: Callable) -> Verdict:
    """Check `set_loss(image, text, own)`: minus the mean cosine to the own texts.

    Shapes   image (B, D), text (M, D), own (B, M) bool; result (B,).
    Units    cosine.
    Returns  a Verdict.
    Raises   nothing.
    Source   Lu et al. 2023, arXiv 2307.14061, the set-level term, as in `medadv.objective.pairs`.
    """

    def right(image, text, own):
        return -((image @ text.T) * own).sum(1) / own.sum(1)

    def first(image, text, own):
        return -(image @ text.T).gather(1, own.int().argmax(1)[:, None])[:, 0]

    wrong = {
        "the sign: the attacker climbs, so the loss must grow as the cosine falls.": lambda i, t, o: -right(i, t, o),
        "that is the sum; images with many texts count more. Take the mean.": lambda i, t, o: -((i @ t.T) * o).sum(1),
        "divided by all texts, not by the image's own ones.": lambda i, t, o: -((i @ t.T) * o).mean(1),
        "only the first text of each image is used: that is the pair, not the set.": first,
        "all texts are fled from, those of others too.": lambda i, t, o: -(i @ t.T).mean(1),
        "that is the nearest own text alone; the mean over the set is wanted.": lambda i, t, o: (
            -(i @ t.T).masked_fill(~o, -2).amax(1)
        ),
        "one number for the batch; each image needs its own, or it cannot leave.": lambda i, t, o: right(
            i, t, o
        ).mean(),
    }
    cases = []
    for seed in (0, 1):
        draw = torch.Generator().manual_seed(seed)
        image, text = (torch.nn.functional.normalize(torch.randn(n, 8, generator=draw), dim=1) for n in (4, 9))
        own = torch.zeros(4, 9, dtype=torch.bool)
        own[[0, 0, 0, 1, 1, 2, 3, 3, 3], torch.arange(9)] = True
        own[2, 8] = bool(seed)  # a twin's caption may be right for two images
        cases.append((image, text, own, right(image, text, own)))
    return judge(
        "q3",
        answer,
        cases,
        wrong,
        help="One number for each image: how near are its own texts, taken together? It must grow as they fall away.",
    )
