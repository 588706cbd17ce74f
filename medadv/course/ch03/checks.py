"""Checks of chapter 3: one function for each exercise, called as `checks.q1(your_function)`."""

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


def q4(answer: Callable) -> Verdict:
    """Check `success_rates(clean, attacked)`: both formulas of attack success.

    Shapes   clean, attacked (Q,) bool; result (2,).
    Units    proportions.
    Returns  a Verdict.
    Raises   nothing.
    Source   Zhang et al. 2022, arXiv 2206.09391, and Lu et al. 2023, arXiv 2307.14061.
    """

    def right(clean, attacked):
        drop = clean.double().mean() - attacked.double().mean()
        return torch.stack([drop, (~attacked[clean]).double().mean()])

    def no_repair(clean, attacked):
        gone = (clean & ~attacked).double()
        return torch.stack([gone.mean(), right(clean, attacked)[1]])

    wrong = {
        "the two are the wrong way round: first over all queries, then over those right before.": lambda c, a: right(
            c, a
        ).flip(0),
        "the first ignores queries that the attack repaired; it is a difference of two recalls.": no_repair,
        "the second counts all wrong queries, also those that were wrong before.": lambda c, a: torch.stack(
            [right(c, a)[0], (~a).double().mean()]
        ),
        "the second divides by all queries; divide by those that were right before.": lambda c, a: torch.stack(
            [right(c, a)[0], (c & ~a).double().mean()]
        ),
        "the second is the drop over the clean recall; queries that were repaired must not count.": lambda c, a: (
            torch.stack([right(c, a)[0], right(c, a)[0] / c.double().mean()])
        ),
        "those are the shares that survive; success is the other part.": lambda c, a: 1 - right(c, a),
        "the first is the recall under attack; the recall that was lost is wanted.": lambda c, a: torch.stack(
            [a.double().mean(), right(c, a)[1]]
        ),
    }
    cases = []
    for seed in (0, 1, 2):
        draw = torch.Generator().manual_seed(seed)
        clean, attacked = torch.rand(40, generator=draw) < 0.6, torch.rand(40, generator=draw) < 0.25
        cases.append((clean, attacked, right(clean, attacked)))
    return judge(
        "q4",
        answer,
        cases,
        wrong,
        help="Two shares with two denominators; see how each counts a query that the attack repaired.",
    )


def q5(answer: Callable) -> Verdict:
    """Check `worst_case(right)`: the share of queries that are right in every case.

    Shapes   right (C, Q) bool; result a scalar.
    Units    a proportion.
    Returns  a Verdict.
    Raises   nothing.
    Source   `medadv.reports.retrieval`, the rows `worst`.
    """
    wrong = {
        "that is the worst of the cases on average: the attacker chooses once for all queries.": lambda r: (
            r.double().mean(1).min()
        ),
        "that is the mean over the cases: the attacker draws one at random.": lambda r: r.double().mean(),
        "right in *some* case is the defender's choice; the attacker chooses.": lambda r: r.any(0).double().mean(),
        "that is the last case alone.": lambda r: r[-1].double().mean(),
        "that is a count; the share is wanted.": lambda r: r.all(0).sum(),
        "that is what the attacker wins; what survives is wanted.": lambda r: (~r.all(0)).double().mean(),
        "that is the share of cases in which every query is right.": lambda r: r.all(1).double().mean(),
    }
    cases = []
    for seed in (0, 1):
        right = torch.rand(4, 30, generator=torch.Generator().manual_seed(seed)) < 0.7
        right[0] |= right[1:].all(0)
        cases.append((right, right.all(0).double().mean()))
    halves = torch.tensor([[True] * 5 + [False] * 5, [False] * 5 + [True] * 5])
    cases.append((halves, torch.tensor(0.0)))
    return judge("q5", answer, cases, wrong, help="The attacker may choose another case for each query.")


def q6(answer: Callable) -> Verdict:
    """Check `fair_recall(similarity, owner, wording)`: recall at 1 where equal sentences count as each other.

    Shapes   similarity (B, M), owner (M,), wording (M,); result a scalar.
    Units    a proportion.
    Returns  a Verdict.
    Raises   nothing.
    Source   wording-level relevance, Chun et al. 2022 (ECCV Caption).
    """

    def true(owner, wording, images):
        return torch.stack([(wording[None] == wording[owner == i][:, None]).any(0) for i in range(images)])

    def right(s, owner, wording):
        return true(owner, wording, len(s)).gather(1, s.argmax(1)[:, None]).double().mean()

    def strict(s, owner, _):
        return (owner[s.argmax(1)] == torch.arange(len(s))).double().mean()

    def other_way(s, owner, wording):
        return true(owner, wording, len(s)).T.gather(1, s.argmax(0)[:, None]).double().mean()

    def first(s, owner, wording):
        mine = torch.stack([wording[owner == i][0] for i in range(len(s))])
        return (wording[s.argmax(1)] == mine).double().mean()

    wrong = {
        "twins count as mistakes: a text that reads like one of its own is right too.": strict,
        "that asks with the texts; ask with the images.": other_way,
        "only the first own text of each image counts; it has several.": first,
        "the least similar text is taken.": lambda s, o, w: right(-s, o, w),
        "that is the share of mistakes.": lambda s, o, w: 1 - right(s, o, w),
        "that is a count of images; the share is wanted.": lambda s, o, w: right(s, o, w) * len(s),
        "wordings are compared with image numbers; look up the wordings of the image's own texts.": lambda s, o, w: (
            (w[s.argmax(1)] == torch.arange(len(s))).double().mean()
        ),
    }
    cases = []
    for seed in (0, 3):
        draw = torch.Generator().manual_seed(seed)
        owner = torch.arange(12).repeat_interleave(3)[torch.randperm(36, generator=draw)]
        wording = torch.randint(0, 14, (36,), generator=draw)
        similarity = torch.randn(12, 36, generator=draw) + 1.5 * (owner[None] == torch.arange(12)[:, None])
        cases.append((similarity, owner, wording, right(similarity, owner, wording)))
    return judge("q6", answer, cases, wrong, help="What does a text that reads like one of the own count for?")
