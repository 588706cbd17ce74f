"""Checks of chapter 1, exercises 4 to 6: pixel units, balanced accuracy, held-out patients."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medadv.course.checks import Verdict, judge


def q4(answer: Callable) -> Verdict:
    """Check `pixel_levels(eps, std)`: how many grey levels a step in normalised space really is.

    Shapes   eps a float; std (3,); result (3,).
    Units    eps in units of the normalised tensor; result in grey levels of 0..255.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours; normalised = (pixel - mean) / std.
    """
    wrong = {
        "you divide by std: normalising divides by it, so going back multiplies.": lambda e, s: e / s * 255,
        "that is in units of [0, 1]; multiply by 255 for grey levels.": lambda e, s: e * s,
        "std is not used: a step taken in normalised space has another size in every channel.": lambda e, s: (
            torch.full_like(s, e * 255)
        ),
        "one std for all channels: every channel has its own.": lambda e, s: e * s.mean() * 255 + 0 * s,
    }
    clip = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    cases = [(eps, std, eps * std * 255) for eps, std in ((0.03, clip), (0.5, torch.tensor([0.229, 0.224, 0.225])))]
    return judge("q4", answer, cases, wrong, help="Undo the normalisation: pixel = normalised * std + mean.")


def q5(answer: Callable) -> Verdict:
    """Check `balanced(predicted, label)`, the mean of the recalls of the classes.

    Shapes   predicted (B,), label (B,); result a scalar.
    Units    a share.
    Returns  a Verdict.
    Raises   nothing.
    Source   the definition of scikit-learn's balanced_accuracy_score.
    """

    def right(predicted, label):
        return torch.stack([(predicted[label == k] == k).float().mean() for k in label.unique()]).mean()

    def all_classes(predicted, label):
        count = int(torch.cat([predicted, label]).max()) + 1
        return (
            sum((predicted[label == k] == k).float().sum() / max(1, int((label == k).sum())) for k in range(count))
            / count
        )

    wrong = {
        "that is plain accuracy: always saying the commonest class scores well.": lambda p, y: (p == y).float().mean(),
        "that is the mean precision: divide by how often a class is true, not said.": lambda p, y: torch.stack(
            [(y[p == k] == k).float().mean() if (p == k).any() else torch.tensor(0.0) for k in y.unique()]
        ).mean(),
        "classes that no image has are counted as zero; leave them out.": all_classes,
    }
    label = torch.tensor([0] * 16 + [1] * 3 + [3])
    cases = []
    for predicted in (
        torch.zeros(20, dtype=torch.int64),
        torch.tensor([0] * 12 + [1] * 4 + [1, 1, 0] + [3]),
        torch.tensor([0] * 15 + [2] + [1, 0, 3] + [0]),
    ):
        cases.append((predicted, label, right(predicted, label)))
    return judge(
        "q5",
        answer,
        cases,
        wrong,
        help="For each class: of the images that have it, how many are found? Average.",
    )


def q6(answer: Callable) -> Verdict:
    """Check `held_out(patients, share)`: which images to hold out.

    Shapes   patients is a list of B names; share a float; result (B,) bool.
    Units    share in [0, 1] of the patients, rounded to a whole number of them.
    Returns  a Verdict; any choice of patients is right.
    Raises   nothing.
    Source   ours.
    """
    patients = [f"p{n:02d}" for n in (0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 5, 6, 6, 7, 8, 9, 9, 0, 2)]
    try:
        got = answer(patients, 0.3)
    except Exception as error:
        return Verdict("q6", "wrong", f"your function stopped with {type(error).__name__}: {error}.")
    if got is None or got is ...:
        return Verdict("q6", "empty", "not yet answered.")
    held = torch.as_tensor(got)
    if held.shape != (len(patients),) or held.dtype != torch.bool:
        return Verdict("q6", "wrong", "one True or False for each image is wanted: a bool tensor of 20.")
    out = {name for name, yes in zip(patients, held.tolist(), strict=True) if yes}
    kept = {name for name, yes in zip(patients, held.tolist(), strict=True) if not yes}
    if out & kept:
        return Verdict(
            "q6", "wrong", f"patient {min(out & kept)} is on both sides: the model would meet an old friend."
        )
    if len(out) != 3:
        return Verdict(
            "q6",
            "wrong",
            f"{len(out)} of 10 patients are held out; 3 are wanted (30 % of patients, not images).",
        )
    return Verdict("q6", "right", "right: no patient is on both sides.")
