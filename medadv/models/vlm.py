"""The one wrapper around every image-text model: pixels and sentences in, unit vectors out.

Resize, crop and normalisation live here and nowhere else, so that attacks, training and certification all
speak of plain pixels in [0, 1]. Anything with open_clip's `encode_image`, `encode_text`, `visual` and
`logit_scale` fits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._device import autocast, dtype_of
from medadv._images import check_pixels
from medadv.models._preprocess import fit, input_size, picture, preprocessing

_log = logging.getLogger(__name__)


def check_text(text: Any, where: str) -> list[str]:
    """Refuse anything but a list of strings.

    Shapes   N strings.
    Units    none.
    Returns  the same strings as a list.
    Raises   ValueError for one string, an empty list, or things that are no strings.
    Source   ours.
    """
    head = f"The 'text' parameter of {where} must be a list of str; got"
    if isinstance(text, (str, bytes)) or not isinstance(text, Sequence):
        raise ValueError(f"{head} one {type(text).__name__}. Write ['a sentence'].")
    wrong = sorted({type(one).__name__ for one in text if not isinstance(one, str)})
    if wrong or not text:
        raise ValueError(f"{head} {', '.join(wrong) or 'an empty list'}. Give it at least one sentence.")
    return list(text)


class VLM(nn.Module):
    """An image-text model in pixel space.

    Shapes   encode_image (B, 3, H, W) -> (B, D); encode_text N sentences or tokens (N, L) -> (N, D).
    Units    images in [0, 1]; embeddings of unit length.
    Returns  a module; mean, std, size and resize_mode are read from the model unless `preprocess` says them.
    Raises   ValueError if the model does not say how it wants its images.
    Source   Radford et al. 2021, arXiv 2103.00020; towers and preprocessing as in open_clip.
    """

    mean: Tensor
    std: Tensor
    not_in_fingerprint = ("name", "truncated", "config", "tokenizer", "tokenizer_files")
    """What does not decide an image's embedding: heads keep their text as numbers."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[..., Tensor],
        *,
        name: str = "",
        preprocess: dict[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
    ):
        super().__init__()
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.name = name or type(model).__name__
        self.dtype = dtype_of(dtype)
        self.truncated = 0
        """How many texts were longer than the context so far."""
        self.config: dict[str, Any] | None = None
        """Its open_clip_config.json, where it came from a folder; save_folder needs it."""
        self.tokenizer_files: list[Any] = []
        self.preprocess = preprocessing(self.model, preprocess)
        self.image_size: int = input_size(self.preprocess)
        self.register_buffer("mean", torch.tensor(self.preprocess["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.preprocess["std"]).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.mean.device

    @property
    def scale(self) -> Tensor:
        """() inverse temperature of the cosine: exp(logit_scale)."""
        return self.model.logit_scale.exp().reshape(())

    @property
    def context_length(self) -> int:
        """Longest text in tokens, start and end included."""
        return int(self.tokenizer.context_length)

    def encode_image(self, image: Tensor) -> Tensor:
        """Embed pixels; the gradient reaches them.

        Shapes   image (B, 3, H, W) of any H, W; result (B, D).
        Units    image in [0, 1]; result float32 of unit length.
        Returns  embeddings.
        Raises   ValueError for anything but pixels.
        Source   open_clip's evaluation transform on tensors, then the image tower.
        """
        with autocast(self.device, self.dtype):
            out = self.model.encode_image(self._prepare(image), normalize=False)
        return F.normalize(out.to(self.mean.dtype), dim=-1)

    def encode_text(self, text: Sequence[str] | Tensor) -> Tensor:
        """Embed sentences, or tokens from `tokenize`.

        Shapes   N sentences, or tokens (N, L) int64 with L the context length; result (N, D).
        Units    result float32 of unit length.
        Returns  embeddings.
        Raises   ValueError for an empty list, anything but strings, or tokens of another shape or range.
        Source   open_clip. Differs: a BERT tower is not run over columns that are padding in every row.
        """
        tokens = self._check_tokens(text) if isinstance(text, Tensor) else self.tokenize(text)
        tokens = tokens.to(self.device)
        config = getattr(getattr(self.model, "text", None), "config", None)
        if config is not None:  # its attention skips padding, so cutting it changes nothing but the time
            used = (tokens != config.pad_token_id).any(dim=0).nonzero()
            tokens = tokens[:, : int(used.max()) + 1 if len(used) else 1]
        with autocast(self.device, self.dtype):
            out = self.model.encode_text(tokens, normalize=False)
        return F.normalize(out.to(self.mean.dtype), dim=-1)

    def tokenize(self, text: Sequence[str]) -> Tensor:
        """Turn sentences into tokens; those longer than the context are cut, counted and once logged.

        Shapes   N sentences; result (N, L) int64.
        Units    none.
        Returns  tokens on the CPU.
        Raises   ValueError for an empty list or anything but strings.
        Source   the tokenizer that came with the model.
        """
        text = check_text(text, "tokenize")
        tokens = self.tokenizer(text)
        self._count_long(text, tokens)
        return tokens

    def features(self, image: Tensor, *, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Look inside the image tower: feature maps after some of its blocks (ViT) or stages (convolutional).

        Shapes   image (B, 3, H, W); each map (B, C, h, w), class token dropped.
        Units    image in [0, 1].
        Returns  one float32 map for each chosen layer (all where None), not normalised, by depth.
        Raises   ValueError for anything but pixels, and for layers that the tower does not have.
        Source   `forward_intermediates` of open_clip and timm.
        """
        chosen = None if layers is None else sorted({int(layer) for layer in layers})
        with autocast(self.device, self.dtype):
            try:
                out = self.model.visual.forward_intermediates(
                    self._prepare(image),
                    indices=chosen,
                    stop_early=chosen is not None,
                    intermediates_only=True,
                )
            except (AssertionError, AttributeError) as error:  # how timm and open_clip say "no such layer"
                raise ValueError(
                    f"The 'layers' parameter of features must name blocks of {self.name}; got {layers}. "
                    "Call features without it to see how many there are."
                ) from error
        return [one.to(self.mean.dtype) for one in out["image_intermediates"]]

    def token_embedding(self) -> nn.Embedding:
        """Return the module that turns tokens into vectors, for gradients with respect to words.

        Shapes   weight (V, width).
        Units    none.
        Returns  the text tower's own module, not a copy; hook it to read or replace its output.
        Raises   nothing.
        Source   ours.
        """
        tower = getattr(self.model, "text", self.model)
        found = getattr(tower, "token_embedding", None)
        return tower.transformer.get_input_embeddings() if found is None else found

    def pixels(self, pictures: Sequence[Any]) -> Tensor:
        """Turn pictures into a batch of pixels of the model's own size.

        Shapes   PIL pictures, arrays (H, W) or (H, W, 3) or tensors (3, H, W); result (B, 3, S, S).
        Units    result in [0, 1].
        Returns  float32 pixels on the model's device.
        Raises   ValueError for an empty list or a picture that cannot be read as pixels.
        Source   open_clip's evaluation transform without its normalisation; equal to it for PIL pictures.
        """
        if not len(pictures):
            raise ValueError("The 'pictures' parameter of pixels must hold at least one picture; got none.")
        return torch.stack([picture(one, self.preprocess) for one in pictures]).to(self.device)

    def _prepare(self, image: Tensor) -> Tensor:
        image = check_pixels(image, "encode_image").to(self.device, self.mean.dtype)
        return (fit(image, self.preprocess) - self.mean) / self.std

    def _check_tokens(self, tokens: Tensor) -> Tensor:
        words, length = self.token_embedding().num_embeddings, self.context_length
        ok = tokens.dtype == torch.int64 and tokens.ndim == 2 and tokens.shape[1] == length and len(tokens) > 0
        if not ok or not (tokens.min() >= 0 and tokens.max() < words):
            raise ValueError(
                f"The 'text' parameter of encode_text must be a list of str, or int64 tokens (N, {length}) "
                f"below {words}; got {tokens.dtype} {tuple(tokens.shape)}. Make tokens with tokenize."
            )
        return tokens

    def _count_long(self, text: list[str], tokens: Tensor) -> None:
        length = self.context_length
        # A token takes at least one byte, so short texts need no second look.
        doubt = [i for i, one in enumerate(text) if len(one.encode()) > length - 3]
        if not doubt or getattr(self.tokenizer, "tokenizer_mode", "") == "clips":
            return
        # With one more place a text that was cut reads differently; one that just fits does not.
        more = self.tokenizer([text[i] for i in doubt], context_length=length + 1)
        long = int((more[:, :length] != tokens[doubt]).any(dim=1).sum())
        if long and not self.truncated:
            _log.warning(
                "%d text(s) longer than the %d tokens of %s were cut; vlm.truncated counts them.",
                long,
                length,
                self.name,
            )
        self.truncated += long

    def extra_repr(self) -> str:
        """Say what it is in one line."""
        return f"{self.name}, {self.image_size} px, {self.context_length} tokens, {self.dtype}"
