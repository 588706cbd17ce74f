"""A very small image-text model, pairs for it, and a simple attack on words, for the attacks that change both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv.types import Cost

SUBJECTS = ("melanoma", "naevus", "keratosis", "polyp", "drusen", "nodule", "effusion", "cyst")


class SmallVLM(nn.Module):
    """Two towers over 16-pixel images and bags of words; dropout and batch norm tell whether it is in eval mode."""

    name, truncated = "small", 0

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.visual = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Tanh(), nn.Dropout(0.2))
            self.out = nn.Linear(8 * 7 * 7, 12)
            self.words = nn.Embedding(512, 12)
        self.texts_read = 0

    device = torch.device("cpu")

    def encode_image(self, image: Tensor) -> Tensor:
        return F.normalize(self.out(self.visual(image).flatten(1)), dim=1)

    def encode_text(self, text: list[str]) -> Tensor:
        self.texts_read += len(text)
        rows = [self.words(torch.tensor([_number(w) for w in (one.lower().split() or [""])])).sum(0) for one in text]
        return F.normalize(torch.stack(rows), dim=1)


@dataclass(frozen=True)
class Words:
    """What an attack on words returns, as far as the attacks on pairs ask for it."""

    text: list[str]
    won: Tensor
    refused: int = 0
    cost: Cost = Cost()


class SwapLetters:
    """Exchange the first two letters of one word: the best of all words, or none. Keeps a diary of its calls."""

    def __init__(self, vlm: SmallVLM, words: int = 1):
        self.vlm, self.words, self.calls = vlm, words, []

    def __call__(self, want, text):
        self.calls.append(list(text))
        best, won, read = [], [], 0
        for i, one in enumerate(text):
            tries = [one]
            split = one.split()
            for j, word in enumerate(split if self.words else []):
                tries.append(" ".join([*split[:j], word[1:2] + word[:1] + word[2:], *split[j + 1 :]]))
            score = want.keep(torch.tensor([i] * len(tries)))(self.vlm.encode_text(tries))
            best.append(tries[int(score.loss.argmax())])
            won.append(bool(score.won[score.loss.argmax()]))
            read += len(tries)
        return Words(best, torch.tensor(won), 0, Cost(text_forwards=read))


def pairs_data(images: int = 4, captions: int = 3, seed: int = 0, grey: bool = False):
    """Random pixels and different captions: (image, text, owner)."""
    gen = torch.Generator().manual_seed(seed)
    image = torch.rand(images, 1 if grey else 3, 16, 16, generator=gen).expand(-1, 3, -1, -1).contiguous()
    owner = torch.arange(images).repeat_interleave(captions)
    text = [f"view {'abcdef'[n % captions]} showing {SUBJECTS[int(i)]} here" for n, i in enumerate(owner)]
    return image, text, owner


def _number(word: str) -> int:
    return int(hashlib.md5(word.encode()).hexdigest(), 16) % 512
