"""How good a classifier or a retriever is: every number comes with an interval.

The order of arguments is that of torch losses: what the model said, then the truth. Rows whose label is -1
(unknown) are left out. A score of minus infinity masks a class; NaN is refused, for it is no answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from medadv._labels import as_labels, check_scores
from medadv.evaluate import _counted
from medadv.evaluate._counted import STATISTICS
from medadv.evaluate.intervals import Estimate, bootstrap, weighted, wilson
from medadv.evaluate.retrieval import recall_at_k, same_meaning

__all__ = [
    "STATISTICS",
    "Estimate",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "bootstrap",
    "confusion",
    "macro_auc",
    "paired_difference",
    "recall_at_k",
    "same_meaning",
    "sensitivity_specificity",
    "wilson",
]


def accuracy(
    output: ArrayLike | Tensor, label: ArrayLike | Tensor, *, groups=None, n: int = 1000, seed: int = 0
) -> Estimate:
    """Count how often the largest output is the right class.

    Shapes   output (B, K) logits or probabilities, or (B,) predicted classes; label, groups (B,).
    Units    a proportion.
    Returns  Estimate: Wilson for independent images; with `groups` (patients) the cluster bootstrap.
    Raises   ValueError if lengths differ, or a score is NaN.
    Source   the common definition.
    """
    output, label, groups = _rows(output, label, groups, "accuracy")
    right = _counted.predicted(output) == label
    if groups is None or len(np.unique(groups)) == len(label):
        return wilson(int(right.sum()), len(label))
    if right.all() or not right.any():
        # Every resample is the same: the bootstrap would claim certainty. Count patients instead.
        many = len(np.unique(groups))
        edge = wilson(many if right.all() else 0, many)
        return Estimate(edge.value, edge.low, edge.high, len(label), edge.level, f"wilson over {many} groups")
    return weighted(_counted.accuracy(output, label), len(label), groups=groups, n=n, seed=seed)


def balanced_accuracy(
    output: ArrayLike | Tensor, label: ArrayLike | Tensor, *, groups=None, n: int = 1000, seed: int = 0
) -> Estimate:
    """Average the accuracy of the classes, so that a rare class weighs as much as a common one.

    Shapes   output (B, K) or (B,) predicted classes; label, groups (B,).
    Units    a proportion; chance is 1 / K.
    Returns  Estimate with a bootstrap interval; classes without images are left out of the average.
    Raises   ValueError if lengths differ, or a score is NaN.
    Source   sklearn.metrics.balanced_accuracy_score, to which it is equal.
    """
    output, label, groups = _rows(output, label, groups, "balanced_accuracy")
    found = weighted(_counted.balanced_accuracy(output, label), len(label), groups=groups, n=n, seed=seed)
    return _not_certain(found, label, groups)


def macro_auc(
    output: ArrayLike | Tensor, label: ArrayLike | Tensor, *, groups=None, n: int = 1000, seed: int = 0
) -> Estimate:
    """Average the areas under the ROC curves of each class against the rest.

    Shapes   output (B, K) logits, or probabilities whose rows sum to one; label, groups (B,).
    Units    a probability; chance is 0.5.
    Returns  Estimate with a bootstrap interval; nan if one of the K classes has no image or all images.
    Raises   ValueError if output is not (B, K), lengths differ, or a score is NaN.
    Source   sklearn's roc_auc_score(multi_class="ovr"), to which it is equal on the softmax; for K = 2 the
             common AUC.
    """
    output, label, groups = _rows(output, label, groups, "macro_auc")
    if output.ndim != 2 or output.shape[1] < 2:
        raise ValueError(
            "The 'output' parameter of macro_auc must be (B, K) with K at least 2; got shape "
            f"{output.shape}. "
            "Use auc for one score per image."
        )
    found = weighted(_counted.macro_auc(output, label), len(label), groups=groups, n=n, seed=seed)
    return _not_certain(found, label, groups)


def auc(score: ArrayLike | Tensor, label: ArrayLike | Tensor, *, groups=None, n: int = 1000, seed: int = 0) -> Estimate:
    """Estimate how often a positive item scores above a negative one; ties count half.

    Shapes   score (B,), label (B,) 0 or 1, groups (B,).
    Units    a probability; chance is 0.5.
    Returns  Estimate with a bootstrap interval; nan if one side is empty.
    Raises   ValueError if score is not (B,), lengths differ, or a score is NaN.
    Source   Hanley and McNeil 1982; equal to sklearn.metrics.roc_auc_score.
    """
    score, label, groups = _rows(score, label, groups, "auc", "score")
    if score.ndim != 1:
        raise ValueError(
            f"The 'score' parameter of auc must be (B,); got shape {score.shape}. Use macro_auc for (B, K)."
        )
    found = weighted(_counted.auc(score, label == 1), len(label), groups=groups, n=n, seed=seed)
    return _not_certain(found, label == 1, groups)


def sensitivity_specificity(
    output: ArrayLike | Tensor, label: ArrayLike | Tensor, *, positive: int = 1
) -> tuple[Estimate, Estimate]:
    """Count the positives that are found and the negatives that are left alone.

    Shapes   output (B, K) or (B,) predicted classes; label (B,).
    Units    proportions.
    Returns  (sensitivity, specificity), each with a Wilson interval; class `positive` stands against all
             others.
    Raises   ValueError if lengths differ, or a score is NaN.
    Source   the common definition.
    """
    output, label, _ = _rows(output, label, None, "sensitivity_specificity")
    said, true = _counted.predicted(output) == positive, label == positive
    found, spared = int((said & true).sum()), int((~said & ~true).sum())
    return wilson(found, int(true.sum())), wilson(spared, int((~true).sum()))


def confusion(output: ArrayLike | Tensor, label: ArrayLike | Tensor, *, classes: int | None = None) -> np.ndarray:
    """Count which class was taken for which.

    Shapes   output (B, K) or (B,) predicted classes; label (B,); result (K, K).
    Units    counts.
    Returns  int array, true classes in rows, predicted classes in columns.
    Raises   ValueError if lengths differ, or a score is NaN.
    Source   sklearn.metrics.confusion_matrix, to which it is equal.
    """
    output, label, _ = _rows(output, label, None, "confusion")
    said = _counted.predicted(output).astype(np.int64)
    many = classes or (
        output.shape[1] if output.ndim == 2 else int(max(said.max(initial=-1), label.max(initial=-1)) + 1)
    )
    return np.bincount(label * many + said, minlength=many * many).reshape(many, many)


def paired_difference(metric: str, first, second, label, *, groups=None, n: int = 1000, seed: int = 0) -> Estimate:
    """Estimate second minus first for two models that saw the same images.

    Shapes   first, second (B, K); label, groups (B,).
    Units    those of the metric, one of the keys of STATISTICS.
    Returns  Estimate; both models are resampled together, so what they share cancels.
    Raises   ValueError if lengths differ, or a score is NaN.
    Source   Efron and Tibshirani 1993, section 8.3.
    """
    first, truth, who = _rows(first, label, groups, "paired_difference", "first")
    second, _, _ = _rows(second, label, groups, "paired_difference", "second")
    a, b = STATISTICS[metric](first, truth), STATISTICS[metric](second, truth)
    return weighted(lambda counts: b(counts) - a(counts), len(truth), groups=who, n=n, seed=seed)


def _not_certain(found: Estimate, label: np.ndarray, groups: np.ndarray | None) -> Estimate:
    """Where every resample is perfect the bootstrap claims certainty; let the smallest class say how far that
    goes."""
    if not (found.low == found.high == found.value and found.value in (0, 1)):
        return found
    units = [label[label == k] if groups is None else np.unique(groups[label == k]) for k in np.unique(label)]
    many = min(len(part) for part in units)
    edge = wilson(many if found.value else 0, many)
    return Estimate(found.value, edge.low, edge.high, found.n, found.level, f"wilson over {many}, the smallest class")


def _array(values) -> np.ndarray:
    return (
        values.detach().float().cpu().numpy()
        if isinstance(values, Tensor) and values.is_floating_point()
        else np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    )


def _rows(output, label, groups, where: str, name: str = "output") -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    output, label = _array(output), as_labels(label, None, where).cpu().numpy()
    if output.ndim not in (1, 2) or output.dtype.kind not in "iufb":
        raise ValueError(
            f"The '{name}' parameter of {where} must be (B, K) scores, or (B,) predicted classes; got {output.dtype} "
            f"{output.shape}. Pass one row per image."
        )
    check_scores(output, f"The '{name}' parameter of {where}")
    groups = None if groups is None else np.asarray(groups)
    for called, column in (("label", label), ("groups", groups)):
        if column is not None and (column.ndim != 1 or len(column) != len(output)):
            raise ValueError(
                f"The '{called}' parameter of {where} must be ({len(output)},), one for each output; got "
                f"shape {column.shape}. "
                "Pass one row per image."
            )
    known = label >= 0
    return output[known], label[known], None if groups is None else groups[known]
