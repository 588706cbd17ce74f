"""How several processes share the images of a run, and the log that its certificates go to.

No process talks to another: process i of N takes the images i, i + N, ... and writes a log of its own, and `gather`
joins the logs. Any launcher will do: torchrun, SLURM, Lightning Fabric, a shell loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medadv._fingerprint import image_mark
from medadv._lock import locked
from medadv.certify.records import Certificate, append_log, marks_of, merge_logs, resume_log
from medadv.certify.votes import fingerprint


def processes(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Find out which of how many processes this is, as torchrun or SLURM tell it.

    Shapes   none.
    Units    none.
    Returns  (number, of): RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS, or (0, 1). Under Lightning Fabric use
             (fabric.global_rank, fabric.world_size).
    Raises   ValueError if they do not fit together.
    Source   the environment variables of torchrun and srun.
    """
    told = os.environ if environment is None else environment
    for number, of in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if number in told and of in told:
            return check_shard((int(told[number]), int(told[of])))
    return 0, 1


def check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    """Refuse a share that is none.

    Shapes   none.
    Units    none.
    Returns  the same pair.
    Raises   ValueError unless 0 <= number < of.
    Source   ours.
    """
    number, of = shard
    if not 0 <= number < of:
        raise ValueError(f"The 'shard' parameter must be (number, of) with 0 <= number < of; got {shard}. Use (0, 1).")
    return number, of


def shard_file(file: str | Path, shard: tuple[int, int]) -> Path:
    """Name the log of one process; a single one writes the log itself.

    Shapes   none.
    Units    none.
    Returns  a path beside `file`.
    Raises   nothing.
    Source   ours.
    """
    path, (number, of) = Path(file), shard
    return path if of == 1 else path.with_name(f"{path.stem}.{number}of{of}{path.suffix}")


def gather(file: str | Path, *, images: int | None = None) -> pd.DataFrame:
    """Join the logs of all processes into one, ordered by image, whoever wrote which.

    Shapes   one row for each image and head.
    Units    as read_log.
    Returns  DataFrame, which also goes to `file`. The rows are the same for any number of processes. An unfinished run
             may be gathered too, and then gone on with by another number of processes.
    Raises   FileNotFoundError if there is no log; ValueError if `images` are asked for and some are missing.
    Source   ours.
    """
    path, found = Path(file), logs_of(file)
    if not found:
        raise FileNotFoundError(f"No log at {path}, nor one of a process beside it. Run certify with this file.")
    with locked(path):
        log = merge_logs(found, file=path)
    missing = sorted(set(range(images or 0)) - set(log["idx"]))
    if missing:
        raise ValueError(
            f"The log {path.name} lacks {len(missing)} of {images} images, the first is {missing[0]}. "
            "Let every process finish: each goes on where it stopped."
        )
    return log


def logs_of(file: str | Path) -> list[Path]:
    """Find the logs of a run: the whole one, and those of single processes beside it.

    Shapes   none.
    Units    none.
    Returns  the paths of those that exist.
    Raises   nothing.
    Source   ours.
    """
    path = Path(file)
    return [one for one in (path, *sorted(path.parent.glob(f"{path.stem}.*of*{path.suffix}"))) if one.is_file()]


def in_log_order(file: str | Path, images: Any) -> list[int]:
    """Say in which order to take images so that those a log holds already keep their numbers.

    Shapes   images: a data set of N with `load` and `labels`; N row numbers.
    Units    none.
    Returns  row numbers: a larger sample of the same data goes on with the log of a smaller one. The order they have
             where the log holds others; `certify` then refuses it.
    Raises   nothing.
    Source   ours. A sample drawn by a seed holds the smaller ones, but not as its first rows.
    """
    held = {i: key for path in logs_of(file) for i, key in marks_of(path).items()}
    plain, waiting, place = list(range(len(images))), dict[tuple[int, str], list[int]](), dict[int, int]()
    if not held:
        return plain
    for row, label in enumerate(images.labels.tolist()):
        waiting.setdefault((label, image_mark(images.load(row)[0])), []).append(row)
    for i in sorted(held):
        if i >= len(plain) or not (rows := waiting.get(held[i])):
            return plain
        place[i] = rows.pop(0)
    rest = iter(sorted(set(plain) - set(place.values())))
    return [place[i] if i in place else next(rest) for i in plain]


class CertificateLog:
    """The certificates of a run: those its log holds already, and those that are added, which go there at once.

    The column `weights` of the log says which head and which image a line is of; a run with others is refused.
    """

    def __init__(
        self,
        file: str | Path | None,
        heads: Mapping[str, Any],
        truth: Sequence[int] | None,
        mark: Callable[[int], str],
        *,
        shard: tuple[int, int],
        **facts: Any,
    ):
        self.rows: dict[tuple[int, str], Certificate] = {}
        self.path: Path | None = None
        if file is None:
            return
        if truth is None:
            raise ValueError("The 'labels' parameter of certify must be given with a file: a log says what is correct.")
        self.path, self.truth, self.mark = shard_file(file, shard), truth, mark
        if min(self.truth, default=0) < 0:
            raise ValueError("The 'labels' parameter of certify must be known classes for a log; got -1. Select rows.")
        self.weights = {name: fingerprint(head) for name, head in heads.items()}
        self.images: dict[int, str] = {}
        for path in sorted({self.path, Path(file)}):  # what was gathered before counts too
            for row in resume_log(path, **facts).to_dict("records"):
                self._check(row, path, shard)
                self.rows[row["idx"], row["head"]] = Certificate.from_row(row)

    def add(self, made: Sequence[Certificate]) -> None:
        """Keep the certificates of an image, and write them."""
        if self.path is not None:
            made = [replace(one, weights=self._weights(one)) for one in made]
            append_log(self.path, made)
        self.rows |= {(one.index, one.head): one for one in made}

    def _check(self, row: dict[str, Any], path: Path, shard: tuple[int, int]) -> None:
        """Refuse a line of another run: another head, label or image under the same name or number."""
        i, (weights, dot, image) = row["idx"], row["weights"].partition(".")
        remedy = "Give the run a file of its own"
        if not dot:
            raise ValueError(
                f"{path.name} was written by an earlier version, which did not note the images; nothing shows that "
                f"they are those of this run. {remedy}; the log itself can still be read."
            )
        if weights != self.weights.get(row["head"], weights):
            raise ValueError(
                f"{path.name} was written with another head {row['head']!s:.60} ({weights:.20}, now "
                f"{self.weights[row['head']]}). {remedy}, or the head another name."
            )
        if i >= len(self.truth):  # of a run with more images
            return
        if row["label"] != self.truth[i]:
            raise ValueError(
                f"{path.name} was written with other labels: image {i} was of class {row['label']}, now it is of class "
                f"{self.truth[i]}. {remedy}, or the labels it was started with."
            )
        # Those of other processes are for them to check.
        if i % shard[1] == shard[0] and image != self._image(i):
            raise ValueError(
                f"{path.name} was written with other images: number {i} is not the one that was certified. {remedy}, "
                "or the data set, split, size and ids it was started with."
            )

    def _image(self, i: int) -> str:
        if i not in self.images:
            self.images[i] = self.mark(i)
        return self.images[i]

    def _weights(self, one: Certificate) -> str:
        return f"{self.weights[one.head]}.{self._image(one.index)}"
