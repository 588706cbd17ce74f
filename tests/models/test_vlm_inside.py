from __future__ import annotations

import logging

import pytest
import torch

from medadv.models import image_features, load, text_features

TEXT = ["a normal lung.", "image of a nodule", "b"]


@pytest.mark.parametrize("bad", ["one sentence", [], [1, 2], None, [b"bytes"], ["a", None]])
def test_texts_that_are_no_lists_of_str_are_refused(bad, vit):
    for door in (vit.tokenize, vit.encode_text):
        with pytest.raises(ValueError, match="must be a list of str"):
            door(bad)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(1, 15, dtype=torch.int64),
        torch.zeros(1, 16),
        torch.zeros(16, dtype=torch.int64),
        torch.full((1, 16), 49408),
        torch.full((1, 16), -1),
        torch.zeros(0, 16, dtype=torch.int64),
    ],
)
def test_tokens_that_are_none_are_refused(bad, vit):
    with pytest.raises(ValueError, match="Make tokens with tokenize"):
        vit.encode_text(bad)


@pytest.mark.parametrize(("family", "fits"), [("vit", 14), ("biomed", 10)])
def test_long_texts_are_counted_and_reported_once(family, fits, vlms, caplog):
    vlm = vlms[family]
    vlm.truncated = 0
    with caplog.at_level(logging.WARNING):
        vlm.encode_text([" ".join("a" * fits), "a", " ".join("ab" * (fits // 2))])
        assert vlm.truncated == 0
        vlm.encode_text([" ".join("a" * (fits + 1)), "a", "nodule " * 40])
        vlm.tokenize(["nodule " * 40])
    assert vlm.truncated == 3
    assert [record.message for record in caplog.records if "were cut" in record.message] == [
        f"2 text(s) longer than the {fits + 2} tokens of {vlm.name} were cut; vlm.truncated counts them."
    ]


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("vit", [(64, 4)] * 3),
        ("coca", [(64, 4)] * 3),
        ("hf", [(64, 4)] * 2),
        ("biomed", [(64, 10)] * 6),
        ("convnext", [(24, 16), (32, 8), (48, 4), (64, 2)]),
        ("resnet", [(8, 16), (32, 16), (64, 8), (128, 4), (256, 2)]),
    ],
)
def test_features(family, shapes, vlms):
    vlm, pixels = vlms[family], torch.rand(2, 3, 70, 50)
    with torch.no_grad():
        maps = vlm.features(pixels)
        assert [one.shape for one in maps] == [(2, c, h, h) for c, h in shapes]
        some = vlm.features(pixels, layers=[1, 0])
    assert len(some) == 2
    for one, same in zip(some, maps, strict=False):
        assert torch.allclose(one, same, atol=1e-5)
    with pytest.raises(ValueError, match="'layers' parameter"):
        vlm.features(pixels, layers=[99])


def test_features_are_those_after_the_block(vit):
    """Against a hook: what the second block gives, without the class token."""
    seen, pixels = [], torch.rand(2, 3, 32, 32)
    hook = vit.model.visual.transformer.resblocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        vit.encode_image(pixels)
        hook.remove()
        (got,) = vit.features(pixels, layers=[1])
    assert torch.allclose(got.flatten(2).mT, seen[0][:, 1:], atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "custom", "coca", "biomed", "hf"])
def test_token_embedding_carries_gradients_to_words(family, vlms):
    vlm, leaf = vlms[family], []

    def swap(_module, _inputs, out):
        leaf.append(out.detach().requires_grad_())
        return leaf[0]

    hook = vlm.token_embedding().register_forward_hook(swap)
    try:
        (grad,) = torch.autograd.grad(vlm.encode_text(["a nodule"])[0, 0], leaf)
    finally:
        hook.remove()
    assert grad[0, :3].abs().sum() > 0


def test_nothing_global_changes(folders):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for name in ("vit", "biomed", "hf"):
        assert not load(f"local-dir:{folders[name]}", device="cpu").training
    assert torch.equal(before, torch.get_rng_state())


def test_many_at_once(vit):
    class Walk:
        image = torch.rand(7, 3, 32, 32)

        def batches(self, size, *, progress=False):
            for part in self.image.split(size):
                yield type("Batch", (), {"image": part})

    vit.train()
    try:
        table = image_features(vit, Walk(), batch_size=3, progress=False)
        assert vit.training
    finally:
        vit.eval()
    with torch.no_grad():
        assert torch.allclose(table, vit.encode_image(Walk.image), atol=1e-5)
        assert torch.allclose(image_features(vit, Walk.image, batch_size=2), table, atol=1e-5)
        assert torch.allclose(text_features(vit, TEXT, batch_size=2, progress=True), vit.encode_text(TEXT), atol=1e-5)
    assert not table.requires_grad
