"""What every attack loop shares: the images that are still attacked, the best point of each, and one step up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from medadv._l1 import strongest
from medadv._quiet import quiet
from medadv._random import Streams, fork
from medadv.objective import Objective
from medadv.threat import Threat
from medadv.types import AttackResult, Cost, Score

NO_GRADIENT = (
    "The 'want' parameter of an attack must let a gradient reach the pixels; got a loss that does not depend on them. "
    "Look for detach, no_grad or numpy in the model, or use square, which needs no gradient."
)
SHARE = 0.01
"""Share of the pixel values that a step of L1 moves."""
_BROKEN = ContextVar("a model may break down at the first point", default=False)


@contextmanager
def broken_points() -> Iterator[None]:
    """Let a model return NaN at the first point too: the clean images were looked at before, or it is reported."""
    token = _BROKEN.set(True)
    try:
        yield
    finally:
        _BROKEN.reset(token)


def check_score(score: object, rows: Tensor) -> Score:
    """Refuse what no loop could work with: another shape or type, and NaN where an attack begins."""
    head = "The 'want' parameter of an attack must give a loss (B,) of float and a success (B,) of bool; got"
    if not isinstance(score, Score):
        raise ValueError(f"{head} {type(score).__name__}. Return Score(loss, success).")
    loss, success = score
    if loss.shape != rows.shape or not loss.is_floating_point():
        raise ValueError(
            f"{head} a loss {_kind(loss)} for {len(rows)} images. Sum or squeeze it to one for each image."
        )
    if success.shape != rows.shape or success.dtype != torch.bool:
        raise ValueError(f"{head} a success {_kind(success)}. Compare: logits.argmax(1) != label, for example.")
    if not _BROKEN.get():
        refuse_nan(loss, rows)
    return score


def refuse_nan(loss: Tensor, rows: Tensor) -> None:
    """A model that returns NaN has not been fooled, and has not withstood an attack either."""
    if loss.isnan().any():
        bad = rows[loss.isnan().to(rows.device)].unique().tolist()
        told = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        raise ValueError(
            f"The model returned NaN before any attack for {len(bad)} image(s), in row(s) {told}; nothing can be said "
            "of their robustness. Check its weights and its preprocessing, use float32, or ask the doctor."
        )


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def region_of(region: Tensor | None, image: Tensor) -> Tensor | None:
    """The pixels that may change, as (B, 1, H, W) or (1, 1, H, W) bool."""
    if region is None:
        return None
    mask, size = torch.as_tensor(region, device=image.device), tuple(image.shape[2:])
    shapes = (size, (1, 1, *size), (len(image), 1, *size))
    if tuple(mask.shape) not in shapes or mask.is_complex():
        fits = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(
            f"The 'region' parameter of an attack must be {fits}, one value for each pixel that may change or not; "
            f"got {tuple(mask.shape)}. Resize the mask to the images."
        )
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"The 'region' parameter of an attack must be bool, or 0 and 1; got values from {mask.min():.3g} to "
            f"{mask.max():.3g}. Write mask > 0."
        )
    return (mask == 1).view(-1, 1, *size).clone()


class ActiveBatch:
    """The images of a batch that are still attacked.

    Fooled images leave it, which is where the speed comes from: passes that are not taken cost nothing. A point that
    won beats one that did not, and among equals the higher loss counts. With `restarts` every image is in the
    batch that often, and all its copies leave when one of them has won.
    """

    def __init__(
        self,
        want: Objective,
        image: Tensor,
        threat: Threat,
        *,
        restarts: int = 1,
        stop: bool = True,
        generator: torch.Generator | None = None,
        region: Tensor | None = None,
    ):
        threat.check(image)
        if restarts < 1:
            raise ValueError(f"The 'restarts' parameter of an attack must be at least 1; got {restarts}.")
        many = len(image)
        short = [row.shape[0] if row.ndim else 1 for row in want.rows if row.shape[:1] != (many,)]
        if short:
            raise ValueError(
                f"The 'want' parameter of an attack must have one row for each of the {many} images; got {short[0]}. "
                "Give one label (or anchor) for each image."
            )
        with ExitStack() as context:
            # What was made under inference_mode cannot take part in a gradient; a copy made outside can.
            context.enter_context(torch.inference_mode(False))
            context.enter_context(torch.enable_grad())
            context.enter_context(quiet(*want.models, want.judge))
            self.image = image.detach().clone() if image.is_inference() else image.detach()
            self.threat, self.stop, self.restarts = threat, stop, restarts
            # Where channels lie last in memory, convolutions on a CPU take a quarter less time.
            self._last = image.device.type == "cpu" and any(_has_convolution(model) for model in want.models)
            self.clean = self._laid(self.image if restarts == 1 else self.image.repeat(restarts, 1, 1, 1))
            self.rows = torch.arange(many * restarts, device=image.device)
            """Which places of the batch the live rows come from; place r * B + i is copy r of image i."""
            odd = any(row.is_inference() for row in want.rows)
            self.want = want.keep(self.rows % many) if restarts > 1 or odd else want
            self.region = region_of(region, image)
            """The pixels that may change, one row for each live row; None for all."""
            if self.region is not None:
                self.region = self.region.expand(many, 1, *image.shape[2:]).repeat(restarts, 1, 1, 1)
            self.generator = fork(generator, many)
            if isinstance(self.generator, Streams) and restarts > 1:
                self.generator = self.generator.repeat(restarts)
            self._best = self.clean.clone()
            self._loss = torch.full((many * restarts,), -torch.inf, dtype=torch.float32, device=image.device)
            self._won = torch.zeros(many * restarts, dtype=torch.bool, device=image.device)
            # Asking who has won makes a card wait for its host, so there it happens in every fourth step only.
            self._pause = 4 if image.is_cuda else 1
            self._looks = self._rides = self._forwards = self._backwards = 0
            self._context = context.pop_all()

    def __enter__(self) -> ActiveBatch:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    def __len__(self) -> int:
        return len(self.rows)

    def gradient(self, x: Tensor) -> tuple[Score, Tensor]:
        """One forward and one backward pass, to the pixels only; the sum keeps every image's gradient its own."""
        x = self.inside(x.detach()).requires_grad_()
        score = self._ask(x)
        # Where the graph goes around the pixels, their gradient is not zero: there is none.
        gradient = torch.autograd.grad(score.loss.sum(), x, allow_unused=True)[0] if score.loss.requires_grad else None
        if gradient is None:
            raise ValueError(NO_GRADIENT)
        self._forwards += len(x)
        self._backwards += len(x)
        score = Score(score.loss.detach(), score.won)
        self._record(x.detach(), score)
        gradient = gradient.nan_to_num(0, 0, 0)  # one bad value must not carry a whole image away
        return score, gradient if self.region is None else gradient * self.region

    def score(self, x: Tensor) -> Score:
        """One forward pass."""
        x = self.inside(x)
        with torch.no_grad():
            score = self._ask(x)
        self._forwards += len(x)
        self._record(x, score)
        return score

    def begin(self, random: bool) -> Tensor:
        """The first point of every live row: a random one of ball and box, or the clean image."""
        return self.inside(self.threat.start(self.clean, generator=self.generator)) if random else self.clean

    def inside(self, x: Tensor) -> Tensor:
        """Give pixels outside the region their clean value."""
        return x if self.region is None else torch.where(self.region, x, self.clean)

    def accept(self, x: Tensor) -> None:
        """Take a point without asking what the model says of it; its loss is nan. A point that won stays."""
        x, kept = self.inside(x.detach()), self._won[self.rows]
        self._best[self.rows] = torch.where(kept.view(-1, 1, 1, 1), self._best[self.rows], x)
        self._loss[self.rows] = self._loss[self.rows].masked_fill(~kept, torch.nan)

    def drop_successful(self, *state: Tensor) -> tuple[Tensor, ...]:
        """Let fooled images go; return the rows of each state tensor that stay."""
        self._looks += 1
        if not self.stop or self._looks % self._pause:
            return state
        done = self._won.view(self.restarts, -1).any(0) if self.restarts > 1 else self._won
        stay = ~done[self.rows % done.shape[0]] if len(done) else ~done
        rows = stay.nonzero().flatten()
        # A batch of a new size costs the libraries underneath about ten images' worth of setting up, so the fooled
        # ride along until they have cost as much: a quarter of the batch, in passes.
        self._rides += len(stay) - len(rows)
        if len(rows) == len(stay) or 4 * self._rides < len(stay):
            return state
        self._rides = 0
        self.rows, self.clean, self.want = self.rows[rows], self.clean[rows], self.want.keep(rows)
        self.region = None if self.region is None else self.region[rows]
        self.generator = self.generator.keep(rows) if isinstance(self.generator, Streams) else self.generator
        return tuple(one[rows] for one in state)

    def result(self) -> AttackResult:
        """For each image the best point of all its copies."""
        many = len(self.image)
        won, loss = self._won.view(self.restarts, many), self._loss.view(self.restarts, many)
        # Winners first, then the highest loss.
        first = (won.any(0, keepdim=True) & ~won) if self.restarts > 1 else torch.zeros_like(won)
        pick = loss.masked_fill(first, -torch.inf).argmax(0) if many else loss.new_zeros(0, dtype=torch.int64)
        place = pick * many + torch.arange(many, device=pick.device)
        cost = Cost(self._forwards, self._backwards, 0, time.perf_counter() - self._began)
        return AttackResult(self._best[place].contiguous(), self._won[place], self._loss[place], cost)

    def _ask(self, x: Tensor) -> Score:
        try:
            score = self.want(self._laid(x))
        except RuntimeError as error:
            if not self._last or "view" not in str(error):
                raise
            self._last = False  # a head that takes `view` of its pixels needs them as they came
            score = self.want(self._laid(x))
        return score if self._forwards else check_score(score, self.rows % max(len(self.image), 1))

    def _laid(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last if self._last else torch.contiguous_format)

    def _record(self, x: Tensor, score: Score) -> None:
        whole = len(self.rows) == len(self._loss)
        old_won, old_loss = (self._won, self._loss) if whole else (self._won[self.rows], self._loss[self.rows])
        won = score.won & ~score.loss.isnan()  # a model that broke down has not been fooled
        better = (won & ~old_won) | ((won == old_won) & (score.loss > old_loss))
        if self.stop:  # the first point that won stays, whoever else is in the batch
            better &= ~old_won
        # With weights of 0 and 1 lerp_ chooses, several times faster than where does.
        chosen = better.view(-1, 1, 1, 1).to(x.dtype)
        loss = torch.where(better, score.loss.to(old_loss.dtype), old_loss)
        if whole:
            self._best.lerp_(x, chosen)
            self._loss, self._won = loss, old_won | won
        else:
            self._best.index_copy_(0, self.rows, self._best[self.rows].lerp_(x, chosen))
            self._loss[self.rows], self._won[self.rows] = loss, old_won | won


def _has_convolution(model: object) -> bool:
    return isinstance(model, nn.Module) and any(isinstance(part, nn.Conv2d) for part in model.modules())


def better_of(best: AttackResult, found: AttackResult, rows: Tensor) -> AttackResult:
    """Take over what a further attack found on some of the rows: winners first, then the highest loss."""
    old_won, old_loss = best.won[rows], best.loss[rows]
    taken = (found.won & ~old_won) | ((found.won == old_won) & (found.loss > old_loss))
    place, kept = rows[taken], taken.nonzero().flatten()
    return AttackResult(
        best.image.index_copy(0, place, found.image[kept]),
        best.won.index_copy(0, place, found.won[kept]),
        best.loss.index_copy(0, place, found.loss[kept]),
        plus(best.cost, found.cost),
    )


def plus(one: Cost, other: Cost) -> Cost:
    """Return the cost of both."""
    return Cost(
        one.forwards + other.forwards,
        one.backwards + other.backwards,
        one.text_forwards + other.text_forwards,
        one.seconds + other.seconds,
    )


def steepest_step(
    threat: Threat, x: Tensor, image: Tensor, gradient: Tensor, step: Tensor | float, *, share: Tensor | float = SHARE
) -> Tensor:
    """Step from x along the gradient and come back into ball and box around image.

    L-inf and L2 take the steepest step. The steepest step of L1 moves one pixel value, which soon stands at a wall of
    the box; so the strongest `share` of the values that the box lets move go together (Tramer and Boneh 2019, arXiv
    1904.13000, SLIDE; they look at the box only afterwards).
    """
    if threat.norm != "l1":
        unit = threat.ascend(gradient)
        there = torch.addcmul(x, unit, step) if isinstance(step, Tensor) else torch.add(x, unit, alpha=step)
        return threat.project(there, image)
    gradient = gradient.masked_fill(((x >= 1) & (gradient > 0)) | ((x <= 0) & (gradient < 0)), 0)
    if threat.grey:
        gradient = gradient.mean(1, keepdim=True)
    unit = strongest(gradient.flatten(1), share).view_as(gradient)
    return threat.project(x + step * unit, image)
