"""What the attacker may do, in pixel units: one frozen value that owns the geometry of the ball and the box."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from medadv._images import check_pixels
from medadv._l1 import into_ball_and_box
from medadv._protected import PROTECTED, fixed, grade_letter, same_sense
from medadv._random import normal, uniform
from medadv._words import frame, plain

_NORMS = ("linf", "l2", "l1")


@dataclass(frozen=True)
class Threat:
    """A ball of one norm around each image, cut with the pixel box [0, 1].

    `Threat.parse("linf:4/255")`, `Threat.parse("l2:0.5")`. With `grey` the three channels move together, as they must
    for a radiograph that was stored as one channel; sizes are then measured on one channel.
    """

    norm: str
    eps: float
    grey: bool = False

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise ValueError(f"The 'norm' parameter of Threat must be one of {_NORMS}; got {self.norm!r}.")
        if not (isinstance(self.eps, Real) and math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(
                f"The 'eps' parameter of Threat must be a finite number of at least 0; got {self.eps!r}. Write 4 / 255."
            )
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(
                f"The 'eps' parameter of Threat must be at most 1 in linf, pixels being in [0, 1]; got {self.eps:g}. "
                f"Did you mean {self.eps:g}/255?"
            )
        object.__setattr__(self, "eps", float(self.eps))  # numbers of numpy too

    @classmethod
    def parse(cls, text: str) -> Threat:
        """Read a threat from a line such as "linf:4/255", "l2:0.5" or "linf:2/255:grey".

        Shapes   none.
        Units    eps in pixel units; n/255 is understood.
        Returns  Threat.
        Raises   ValueError for anything else.
        Source   ours.
        """
        found = re.fullmatch(r"(linf|l2|l1):([-+\d.e]+)(?:/([\d.]+))?(:grey)?", text.strip().lower())
        try:
            if not found:
                raise ValueError
            eps = float(found[2]) / float(found[3] or 1)
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"The 'text' parameter of Threat.parse must look like linf:4/255, l2:0.5 or l1:10; got {text!r}."
            ) from None
        return cls(found[1], eps, bool(found[4]))

    @classmethod
    def of(cls, value: Threat | str) -> Threat:
        """Return a threat as it is, and read one that is given as a line such as "linf:4/255".

        Shapes   none.
        Units    eps in pixel units.
        Returns  Threat.
        Raises   ValueError for anything else.
        Source   ours; every attack takes both.
        """
        if isinstance(value, str):
            return cls.parse(value)
        if not isinstance(value, Threat):
            raise ValueError(
                f"The 'threat' parameter of an attack must be a Threat or a line; got {type(value).__name__}. "
                "Write Threat.parse('linf:4/255'), or 'linf:4/255'."
            )
        return value

    def __str__(self) -> str:
        steps, short = round(self.eps * 255, 2), f"{self.eps:g}"
        # The short forms only where they are read back as the very same number.
        if self.norm == "linf" and steps > 0 and steps / 255 == self.eps:
            size = f"{steps:.2f}".rstrip("0").rstrip(".") + "/255"
        else:
            size = short if float(short) == self.eps else repr(float(self.eps))
        return f"{self.norm}:{size}{':grey' if self.grey else ''}"

    def __repr__(self) -> str:
        return f"Threat({self})"

    def check(self, image: Tensor) -> Tensor:
        """Refuse anything but float pixels (B, 3, H, W) in [0, 1]; with `grey`, three equal channels.

        Shapes   image (B, 3, H, W).
        Units    [0, 1].
        Returns  the same tensor.
        Raises   ValueError with the remedy.
        Source   ours.
        """
        check_pixels(image, "an attack")
        if self.grey and image.numel() and (image - image[:, :1]).abs().max() > 1e-6:
            raise ValueError(
                "The 'image' parameter of an attack must have three equal channels for a grey threat; got colours. "
                "Drop ':grey' from the threat."
            )
        return image

    def size(self, adversarial: Tensor, image: Tensor) -> Tensor:
        """Measure how far each image was moved, in this norm.

        Shapes   both (B, 3, H, W); result (B,).
        Units    pixel units.
        Returns  float tensor.
        Raises   nothing.
        Source   definition.
        """
        moved = self._flat(adversarial - image)
        if self.norm == "linf":
            return moved.abs().amax(1) if moved.shape[1] else moved.sum(1)
        return moved.abs().sum(1) if self.norm == "l1" else moved.norm(dim=1)

    def ascend(self, gradient: Tensor) -> Tensor:
        """Turn a gradient into the steepest direction of unit size in this norm.

        Shapes   gradient (B, 3, H, W), result the same.
        Units    none.
        Returns  zero where the gradient is zero.
        Raises   nothing.
        Source   duality of norms; L1 takes the one strongest pixel value.
        """
        if self.grey:
            gradient = gradient.mean(1, keepdim=True).expand_as(gradient)
        if self.norm == "linf":
            return gradient.sign()
        if self.norm == "l2":
            length = torch.linalg.vector_norm(gradient[:, :1] if self.grey else gradient, dim=(1, 2, 3), keepdim=True)
            return gradient / length.clamp_min(1e-30)
        flat = self._flat(gradient)
        top = flat.abs().argmax(1, keepdim=True)
        unit = torch.zeros_like(flat).scatter(1, top, flat.gather(1, top).sign())
        return self._unflat(unit, gradient)

    def project(self, adversarial: Tensor, image: Tensor) -> Tensor:
        """Bring points back into the ball and the box.

        Shapes   both (B, 3, H, W), result the same.
        Units    pixel units.
        Returns  a point of ball and box. In L-inf and L1 it is the nearest one; in L2 the ball comes first, then the
                 box, which leaves neither, for clipping towards the box only shortens the way to an image in the box.
        Raises   nothing.
        Source   L1: Croce and Hein 2021, arXiv 2103.01208, section 3.
        """
        moved = adversarial - image
        if self.grey:
            moved = moved.mean(1, keepdim=True)
        if self.norm == "linf":
            moved = moved.clamp_(-self.eps, self.eps)
        elif self.norm == "l2":
            length = torch.linalg.vector_norm(moved, dim=(1, 2, 3), keepdim=True)
            moved = moved.mul_((self.eps / length.clamp_min(1e-30)).clamp_max(1))
        else:
            moved = into_ball_and_box(moved.flatten(1), self._flat(image), self.eps).view(moved.shape)
        return (image + moved).clamp_(0, 1)

    def start(self, image: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a random point of ball and box around each image.

        Shapes   image (B, 3, H, W), result the same.
        Units    pixel units.
        Returns  uniform in the L-inf ball; in L2 and L1 uniform in the ball, then cut to the box.
        Raises   nothing.
        Source   L2: Gaussian direction and radius u^(1/d); L1: Laplace direction and the same radius.
        """
        shape = image[:, :1].shape if self.grey else image.shape
        if self.norm == "linf":
            moved = (2 * uniform(shape, image, generator) - 1) * self.eps
        else:
            flat = normal(shape, image, generator).flatten(1)
            if self.norm == "l1":
                flat = flat.sign() * uniform(flat.shape, image, generator).clamp_min(1e-12).log()
            length = flat.norm(p=1 if self.norm == "l1" else 2, dim=1, keepdim=True)
            radius = uniform((len(flat), 1), image, generator)
            flat = flat / length.clamp_min(1e-30) * radius ** (1 / max(flat.shape[1], 1)) * self.eps
            moved = flat.view(shape)
        return self.project(image + moved.expand_as(image), image)

    def _flat(self, image: Tensor) -> Tensor:
        return (image[:, :1] if self.grey else image).flatten(1)

    def _unflat(self, flat: Tensor, like: Tensor) -> Tensor:
        if self.grey:
            return flat.view_as(like[:, :1]).expand_as(like)
        return flat.view_as(like)


@dataclass(frozen=True)
class TextThreat:
    """How many words of a text may change, and which must not. Candidates come from the attack that uses it.

    Protected are English words: negations, sides, degrees and numbers stay letter for letter; directions, findings and
    their antonyms, grades and words of change give way to words of the same sense alone. An empty set protects nothing
    but numbers in digits. In other languages name the words yourself.
    """

    words: int = 1
    protected: frozenset[str] = PROTECTED

    def __post_init__(self) -> None:
        if isinstance(self.words, bool) or not isinstance(self.words, int) or self.words < 0:
            raise ValueError(f"The 'words' parameter of TextThreat must be a number, at least 0; got {self.words}.")
        if isinstance(self.protected, str):
            raise ValueError("The 'protected' parameter of TextThreat must be a set of words; got one str. Split it.")
        object.__setattr__(self, "protected", frozenset(word.lower() for word in self.protected))

    def allows(self, before: str, after: str) -> bool:
        """Say whether a text is within reach of another: as many words, few of them changed, none of them protected.

        Shapes   none.
        Units    words as split at white space, HTML references read as their signs; a protected word is so in any case,
                 in the plural, and as a part of a hyphened one (right-sided). The punctuation at the ends of a word
                 must stay. Opposites by prefix (hyper-, hypo-) are refused unless `protected` is empty.
        Returns  bool. Numbers in digits are protected always.
        Raises   nothing.
        Source   ours.
        """
        old, new = plain(before).split(), plain(after).split()
        if len(old) != len(new):
            return False
        changed = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        if self.protected and any(grade_letter(old, i) for i in changed):
            return False
        return len(changed) <= self.words and all(self._may_change(old[i], new[i]) for i in changed)

    def guards(self, word: str) -> bool:
        """Say whether a word must neither go nor come."""
        return fixed(word, self.protected)

    def _may_change(self, before: str, after: str) -> bool:
        if self.guards(before) or self.guards(after) or frame(before) != frame(after):
            return False
        return same_sense(before, after, self.protected)
