"""One training loop for everything: the algorithm is the step, the loop only repeats it, saves it and resumes it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from medadv import _device
from medadv._atomic import whole_file
from medadv._fingerprint import digest, told_apart
from medadv._lock import locked
from medadv.data.pairs import Pairs
from medadv.types import Batch

Step = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""A step maps a model and a batch to a dictionary that holds "loss"; the other entries are logged."""

_WORDS = {"rows": "other rows or labels of the data", "function": "another step"}
_log = logging.getLogger(__name__)


@dataclass
class History:
    """What happened: one entry in every list for each logged step."""

    step: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Append one row; names may come and go, absent ones become NaN."""
        for name in {**self.values, **values}:
            column = self.values.setdefault(name, [float("nan")] * len(self.step))
            column.append(values.get(name, float("nan")))
        self.step.append(step)

    def last(self, name: str = "loss", window: int = 20) -> float:
        """Return the mean of the last logged values."""
        return float(np.nanmean(self.values[name][-window:]))

    def __repr__(self) -> str:
        if not self.step:
            return "History(empty)"
        return f"History({self.step[-1]} steps; " + ", ".join(f"{n} {self.last(n):.3g}" for n in self.values) + ")"


def draws(pairs: Pairs, batch_size: int, *, seed: int = 0) -> Callable[[int], Batch]:
    """Turn a data set into the batches of an endless shuffled walk: batch k depends on (seed, k) alone.

    Shapes   every batch holds batch_size images, or the whole set if that is smaller.
    Units    none.
    Returns  a function of the step number, which is what lets training resume exactly.
    Raises   ValueError for an empty data set.
    Source   ours.
    """
    size = min(batch_size, len(pairs))
    if not size:
        raise ValueError(f"The 'pairs' parameter of draws must hold images; {pairs.name} is empty. Check the split.")
    per_epoch = len(pairs) // size
    order: dict[int, np.ndarray] = {}

    def batch(k: int) -> Batch:
        epoch, place = divmod(k, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = np.random.default_rng((seed, epoch)).permutation(len(pairs))
        return pairs.batch(order[epoch][place * size : (place + 1) * size].tolist(), seed=seed * 1_000_003 + epoch)

    return batch


def learning_rate(k: int, *, steps: int, peak: float, warmup: int, schedule: str = "cosine") -> float:
    """Return the rate at step k: a linear rise, then a cosine fall to zero or a constant.

    Shapes   none.
    Units    k, steps and warmup count optimiser steps.
    Returns  float.
    Raises   ValueError for an unknown schedule.
    Source   Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
    """
    if schedule not in ("cosine", "constant"):
        raise ValueError(f"The 'schedule' parameter of fit must be cosine or constant; got {schedule!r}.")
    if k < warmup:
        return peak * (k + 1) / warmup
    if schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (k - warmup) / max(steps - warmup, 1)))


@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    model: nn.Module,
    data: Pairs | Callable[[int], Batch],
    step: Step,
    *,
    steps: int,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    warmup: int | None = None,
    schedule: str = "cosine",
    batch_size: int = 128,
    params: Iterable[nn.Parameter] | None = None,
    clip: float | None = 1.0,
    norm: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    checkpoint: str | Path | None = None,
    every: int = 200,
    log: Callable[[int, dict[str, float]], None] | None = None,
    progress: bool = True,
) -> History:
    """Train the model by repeating a step; with a checkpoint, a killed run goes on exactly where it was.

    Shapes   data: Pairs, or a function of the step number that returns a Batch.
    Units    norm=False keeps the statistics of BatchNorm as they came, for few images of another kind;
             lr at its peak; warmup in steps (a twentieth of them, 200 at most, unless told).
    Returns  History; the model is changed in place, left in the mode it came in.
    Raises   ValueError if the step returns no loss, or the checkpoint is of another run (other data, step, settings,
             or weights that are not trained) or written by another process; FloatingPointError if the loss is no
             number.
    Source   ours: AdamW (Loshchilov and Hutter 2019), no weight decay on vectors and scalars.
    """
    place = next(model.parameters()).device if device is None else _device.pick(device)
    model.to(place)
    form = _device.dtype_of(dtype)
    batch_at = draws(data, batch_size, seed=seed) if isinstance(data, Pairs) else data
    warm = min(200, steps // 20) if warmup is None else warmup
    tuned = [p for p in (model.parameters() if params is None else params) if p.requires_grad]
    if not tuned:
        raise ValueError("The 'params' parameter of fit must hold weights that require a gradient; it holds none.")
    if any(weight.is_inference() for weight in tuned):
        raise ValueError(
            "The 'model' parameter of fit must be made outside torch.inference_mode; its weights cannot be trained. "
            "Make it before, or copy it with copy.deepcopy outside."
        )
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in tuned if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in tuned if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=lr,
    )
    history, seen, done = History(), _Seen(batch_at, seed), 0
    # What a checkpoint must agree on: another value of any of these would be another run.
    facts = {"steps": steps, "lr": lr, "seed": seed, "weight_decay": weight_decay, "warmup": warm,
             "schedule": schedule, "batch_size": batch_size, "clip": clip, "norm": norm,
             "dtype": str(form)}  # fmt: skip
    if checkpoint is not None:
        facts |= _marks(model, data, step)
    with locked(checkpoint):
        if checkpoint is not None and Path(checkpoint).exists():
            done = _restore(Path(checkpoint), model, optimiser, history, seen, tuned, facts)
        bar = tqdm(range(done, steps), initial=done, total=steps, desc="training", disable=not progress)
        with torch.random.fork_rng(), _learning(model, tuned, norm=norm), bar:  # the caller gets stream and modes back
            for k in bar:
                torch.manual_seed(seed * 1_000_003 + k)  # what step k draws (dropout) hangs on (seed, k) alone
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(k, steps=steps, peak=lr, warmup=warm, schedule=schedule)
                saves = checkpoint is not None and ((k + 1) % every == 0 or k + 1 == steps)
                with _device.autocast(place, form):
                    batch = _trainable(batch_at(k))
                    if checkpoint is not None:
                        seen.note(k, batch, keep=saves)
                    terms = step(model, batch.to(place))
                if "loss" not in terms:
                    raise ValueError(
                        f"The 'step' parameter of fit must return a dictionary with 'loss'; got {sorted(terms)}. "
                        "Add the loss to what it returns."
                    )
                optimiser.zero_grad(set_to_none=True)
                terms["loss"].backward(inputs=tuned)  # weights that are not tuned get no .grad
                if clip is not None:
                    nn.utils.clip_grad_norm_(tuned, clip)
                optimiser.step()
                logs = k % 10 == 9 or k + 1 == steps
                if (logs or saves) and not math.isfinite(loss := float(terms["loss"].detach())):
                    raise FloatingPointError(f"The loss is {loss} at step {k + 1}. Lower lr, now {lr:g}.")
                if logs:
                    values = {name: float(value.detach()) for name, value in terms.items()}
                    history.add(k + 1, values)
                    bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
                    if log is not None:
                        log(k + 1, values)
                if checkpoint is not None and saves:
                    _save(Path(checkpoint), model, optimiser, history, seen, done=k + 1, facts=facts)
    return history


@contextmanager
def _learning(model: nn.Module, tuned: list[nn.Parameter], *, norm: bool) -> Iterator[None]:
    """Put a model into training mode for a while; every part gets its own mode back, and no gradient stays."""
    before = [(part, part.training) for part in model.modules()]
    model.train()
    for part, _ in before:
        if not norm and isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training
        for weight in tuned:
            weight.grad = None


def _trainable(batch: Batch) -> Batch:
    """The same batch, its tensors fit for a gradient even if they were made under torch.inference_mode."""
    held = {part.name: getattr(batch, part.name) for part in fields(batch)}
    fit: dict[str, Any] = {k: v.clone() for k, v in held.items() if isinstance(v, Tensor) and v.is_inference()}
    return replace(batch, **fit)


class _Seen:
    """Hashes of a few batches: the first, those of steps 1, 2, 4, ... and the last before each checkpoint."""

    def __init__(self, batch_at: Callable[[int], Batch], seed: int):
        self.batch_at, self.seed = batch_at, seed
        self.batches: dict[str, str] = {}

    def note(self, k: int, batch: Batch, *, keep: bool) -> None:
        """Hash a batch if it is one of these."""
        if keep or k & (k - 1) == 0:
            kept = {number: one for number, one in self.batches.items() if int(number) & (int(number) - 1) == 0}
            self.batches = {**kept, str(k): _hash(batch)}

    def differ(self, batches: dict[str, str]) -> str | None:
        """Draw the batches of a checkpoint again, and name the first that is another one now."""
        for number, mark in sorted(batches.items(), key=lambda one: int(one[0])):
            with torch.random.fork_rng():
                torch.manual_seed(self.seed * 1_000_003 + int(number))  # as the loop does before it draws
                if _hash(self.batch_at(int(number))) != mark:
                    return f"other images or texts in batch {number}"
        self.batches = dict(batches)
        return None


def _hash(batch: Batch) -> str:
    return digest((batch.image, batch.index, batch.text, batch.label, batch.group, batch.mask))


def _marks(model: nn.Module, data: Any, step: Any) -> dict[str, str]:
    """Name the data and the step of a run; the model that is trained counts as known wherever the step refers to it."""
    found = {"function": told_apart(step, name="step", where="fit", what="it", skip=[model, *model.modules()])}
    if isinstance(data, Pairs):
        rows = [(row.label, row.captions, row.name, row.attributes) for row in data.rows]
        found |= {"data": data.name, "rows": digest(repr((data.classes, data.group_by, rows)))}
    return found


def _save(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: History, seen: _Seen, *, done: int,
    facts: dict[str, Any],
) -> None:  # fmt: skip
    """Write a checkpoint, whole or not at all."""
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "history": asdict(history)}
    with whole_file(path) as part:
        torch.save({**state, "batches": seen.batches, "done": done, **facts}, part)


def _restore(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: History, seen: _Seen,
    tuned: list[nn.Parameter], facts: dict[str, Any],
) -> int:  # fmt: skip
    """Take a checkpoint up again: the number of steps that are done. One of another run is refused, nothing changed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = "function" not in state and "history" in state
        differs = [_difference(k, state.get(k), v) for k, v in facts.items() if state.get(k, v) != v]
        kept, done = History(**state["history"]), int(state["done"])
        own, there = model.state_dict(), state["model"]
        if {name: value.shape for name, value in there.items()} != {name: value.shape for name, value in own.items()}:
            differs.append("another architecture")
        elif any(not torch.equal(there[name], own[name].cpu()) for name in _still(model, tuned)):
            differs.append("other weights among those that are not trained")
        batches = {str(int(k)): str(mark) for k, mark in state.get("batches", {}).items()}
        if not 0 <= done <= facts["steps"] or any(int(k) < 0 for k in batches):
            raise ValueError("a step that cannot be")
    except Exception as error:
        raise ValueError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}). Delete it to start anew."
        ) from error
    if before:
        raise ValueError(
            f"The checkpoint {path} was written by an earlier version, which did not note its data. "
            "Delete it to start anew."
        )
    if not differs and (other := seen.differ(batches)):
        differs.append(other)
    if differs:
        differs = differs if len(differs) < 5 else [*differs[:4], f"and {len(differs) - 4} more"]
        raise ValueError(
            f"The checkpoint {path} belongs to another run ({'; '.join(differs)}). Delete it to start anew."
        )
    own = {name: value.clone() for name, value in own.items()}
    try:
        model.load_state_dict(there)
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:
        model.load_state_dict(own)
        raise ValueError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}). Delete it to start anew."
        ) from error
    history.step, history.values = kept.step, kept.values
    _log.info("resumed %s at step %d", path, done)
    return done


def _still(model: nn.Module, tuned: list[nn.Parameter]) -> list[str]:
    """Names of the parameters that training leaves alone."""
    moving = {id(weight) for weight in tuned}
    return [name for name, weight in model.named_parameters() if id(weight) not in moving]


def _difference(name: str, there: Any, here: Any) -> str:
    return _WORDS.get(name) or re.sub(r"\s+", " ", f"{name} {there!s:.60} there, {here!s:.60} here")
