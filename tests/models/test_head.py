from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from medadv.data.pairs import Pairs, Row
from medadv.models import (
    TEMPLATES,
    Head,
    LinearProbe,
    ZeroShot,
    as_head,
    fit_probe,
    image_features,
    load_head,
    save_head,
)

CLASSES = ["lung", "heart", "a skin nodule"]


@dataclass(frozen=True)
class Noise:
    """Image i: a colour for its class, with noise."""

    labels: tuple[int, ...]

    def __call__(self, i):
        image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(i)) * 0.8
        image[max(self.labels[i], 0) % 3] += 0.05
        return image, None


def pairs(n=60, classes=3, unknown=0):
    labels = tuple(i % classes for i in range(n)) + (-1,) * unknown
    rows = tuple(Row(label=k, captions=("x",), patient=str(i)) for i, k in enumerate(labels))
    return Pairs("noise", tuple(f"class {k}" for k in range(classes)), rows, Noise(labels))


def test_zero_shot_by_hand(vit):
    pixels = torch.rand(4, 3, 40, 33)
    head = ZeroShot.from_prompts(vit, CLASSES)
    with torch.no_grad():
        image = vit.encode_image(pixels)
        for k, name in enumerate(CLASSES):
            mean = sum(vit.encode_text([one.replace("{}", name)])[0] for one in TEMPLATES) / len(TEMPLATES)
            want = vit.model.logit_scale.exp() * image @ (mean / mean.norm())
            assert torch.allclose(head(pixels)[:, k], want, atol=1e-4)
        assert torch.allclose(head.from_features(image), head(pixels), atol=1e-5)
    assert torch.allclose(head.weight.norm(dim=1), torch.ones(3), atol=1e-6)
    assert "weight" in dict(head.named_buffers())
    assert head.classes == tuple(CLASSES)


def test_text_is_encoded_once(vit, monkeypatch):
    head = ZeroShot.from_prompts(vit, CLASSES, templates=["{}"], batch_size=2)
    assert torch.allclose(head.weight, F.normalize(vit.encode_text(CLASSES), dim=-1), atol=1e-6)
    monkeypatch.setattr(vit.model, "encode_text", None)
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    (grad,) = torch.autograd.grad(head(pixels)[:, 0].sum(), pixels)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("classes", "templates", "says"),
    [
        ([], TEMPLATES, "an empty list"),
        ("lung", TEMPLATES, "got one str"),
        (["lung", 3], TEMPLATES, "got int"),
        (["lung"], ["no place"], r"must each hold \{\}"),
        (["lung"], [], "an empty list"),
    ],
)
def test_wrong_prompts(classes, templates, says, vit):
    with pytest.raises(ValueError, match=says):
        ZeroShot.from_prompts(vit, classes, templates=templates)


def test_odd_class_names_are_taken_as_they_are(vit):
    assert ZeroShot.from_prompts(vit, ["{0}", "{lung}"], templates=["{} {}"]).weight.shape == (2, 24)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probe_equals_sklearn(classes, vit):
    data = pairs(80, classes)
    feature = image_features(vit, data, progress=False).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    model.fit(feature, data.labels.numpy())
    probe = fit_probe(vit, data, C=0.5, batch_size=16, max_iter=2000, progress=False)
    with torch.no_grad():
        logits = probe(torch.stack([data.load(i)[0] for i in range(len(data))]))
    assert (logits.argmax(1).numpy() == model.predict(feature)).mean() > 0.98
    assert np.abs(logits.softmax(1).numpy() - model.predict_proba(feature)).max() < 0.02
    assert torch.allclose(probe.from_features(torch.from_numpy(feature)), logits, atol=1e-4)
    again = fit_probe(vit, data, C=0.5, batch_size=16, max_iter=2000, progress=False)
    assert torch.equal(again.linear.weight, probe.linear.weight)


def test_probe_leaves_unknown_rows_out_and_wants_every_class(vit):
    small = fit_probe(vit, pairs(30, 3), progress=False)
    more = fit_probe(vit, pairs(30, 3, unknown=5), progress=False)
    assert torch.allclose(small.linear.weight, more.linear.weight, atol=1e-4)
    with pytest.raises(ValueError, match="got none of class 2"):
        fit_probe(vit, pairs(2, 3), progress=False)
    with pytest.raises(ValueError, match="a second class"):
        fit_probe(vit, pairs(4, 1), progress=False)


def test_probe_says_when_it_did_not_converge(vit, caplog):
    with caplog.at_level(logging.WARNING):
        fit_probe(vit, pairs(30, 3), max_iter=1, progress=False)
    assert "had not converged after 1 iterations" in caplog.text


def heads(vlm):
    probe = LinearProbe(vlm, classes=CLASSES)
    torch.nn.init.normal_(probe.linear.weight, generator=torch.Generator().manual_seed(0))
    return {"zero": ZeroShot.from_prompts(vlm, CLASSES), "probe": probe}


@pytest.mark.parametrize("kind", ["zero", "probe"])
def test_save_and_load(kind, vit, tmp_path):
    head, pixels = heads(vit)[kind], torch.rand(2, 3, 32, 32)
    path = save_head(head, path=tmp_path / "deep" / "head.safetensors")
    assert [one.name for one in path.parent.iterdir()] == ["head.safetensors"]
    assert path.stat().st_size < 2000  # the head alone, not the model
    again = load_head(path, vlm=vit)
    assert type(again) is type(head)
    assert again.classes == head.classes
    assert getattr(again, "templates", None) == getattr(head, "templates", None)
    with torch.no_grad():
        assert torch.equal(again(pixels), head(pixels))


def test_wrong_head_files(vit, vlms, tmp_path, caplog):
    from safetensors.torch import save_file

    path = save_head(heads(vit)["probe"], path=tmp_path / "head.safetensors")
    with pytest.raises(FileNotFoundError, match="No head at"):
        load_head(tmp_path / "none", vlm=vit)
    with caplog.at_level(logging.WARNING):
        load_head(path, vlm=vlms["custom"])
    assert "was made on" in caplog.text
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is cut short"):
        load_head(tmp_path / "cut", vlm=vit)
    save_file({"weight": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="holds no head"):
        load_head(tmp_path / "other", vlm=vit)
    wide = LinearProbe(vit, classes=CLASSES)
    wide.linear = torch.nn.Linear(7, 3)
    with pytest.raises(ValueError, match="must fit embeddings of size 24"):
        load_head(save_head(wide, path=tmp_path / "wide"), vlm=vit)


def test_a_function_is_a_head_that_says_nothing_of_itself():
    head = as_head(lambda image: image.flatten(1)[:, :2])
    assert (head.guarantee, head.streams, head.views, head.copies, head.parts) == ("fixed", (), 0, 0, 1)
    assert not head.on_embeddings
    image = torch.rand(3, 3, 4, 4)
    assert torch.equal(head(image), image.flatten(1)[:, :2])
    assert as_head(head) is head


def test_a_foreign_module_says_what_its_attributes_say():
    class Mine(torch.nn.Module):
        guarantee, copies, ratio = "composed", 2, 3.0

        def __init__(self):
            super().__init__()
            self.vlm, self.head = torch.nn.Identity(), torch.nn.Identity()

        def from_copies(self, feature, further):
            return feature + further.sum(1)

    mine = Mine()
    head = as_head(mine)
    assert (head.guarantee, head.copies, head.ratio, head.on_embeddings) == ("composed", 2, 3.0, True)
    assert head.vlm is mine.vlm
    assert head.single() is mine.head
    assert torch.equal(head.from_copies(torch.ones(1, 2), torch.ones(1, 2, 2)), torch.full((1, 2), 3.0))


def test_a_head_must_say_its_logits():
    class Silent(Head):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Silent()
