"""Checks of chapter 3, exercises 4 to 6: success rates, the worst case, twins."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medadv.course.checks import Verdict, judge


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
