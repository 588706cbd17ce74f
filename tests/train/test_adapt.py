"""Adaptation on a small random model: it learns, val chooses, a killed run resumes exactly."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from tinyworld import write_images, write_model

from medadv.data import read_tidy
from medadv.models import ZeroShot, load
from medadv.models.pooled import PooledProbe, install, load_pooled, pooled_features, save_pooled, solve
from medadv.train.adapt import METHODS, adapt, adapted_folder, cross_validate, load_adapted, save_adapted
from medadv.train.augment import augment
from medadv.train.supervised import balanced_step, same_text_contrastive
from medadv.types import Batch


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    name = f"local-dir:{write_model(root / 'model')}"
    pairs = read_tidy(write_images(root / "images"), size=32)
    return load(name, device="cpu"), pairs.select("train"), pairs.select("val"), pairs.select("test")


def _quick(world, method, **options):
    vlm, train, val, _ = world
    more = {"steps": 25, "batch_size": 16, "lr": 3e-3, "strength": (0.01, 1.0), "progress": False, **options}
    return adapt(vlm, train, val, method=method, **more)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_leaves_the_model_as_it_was(world, method):
    vlm, _, _, test = world
    before = deepcopy(vlm.state_dict())
    done = _quick(world, method)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), vlm.state_dict().values(), strict=True))
    assert done.method == method
    assert done.classes == test.classes
    with torch.no_grad():
        said = done.head(test.batch(range(len(test))).image).argmax(1)
    assert (said == test.labels).float().mean() > 0.9
    assert not done.head.training


def test_auto_takes_the_best_candidate_on_val(world):
    done = _quick(world, "auto")
    assert [one["method"] for one in done.tried] == ["probe", "probe", "finetune"]
    assert done.chosen["val"] == max(one["val"] for one in done.tried)
    assert done.method == done.chosen["method"]
    assert "val macro AUC" in repr(done)


def test_frozen_methods_keep_the_tower(world):
    vlm = world[0]
    done = _quick(world, "probe")
    assert all(torch.equal(a, b) for a, b in zip(vlm.parameters(), done.vlm.parameters(), strict=True))
    tuned = _quick(world, "finetune")
    assert not torch.equal(vlm.model.visual.conv1.weight, tuned.vlm.model.visual.conv1.weight)
    assert torch.equal(vlm.model.token_embedding.weight, tuned.vlm.model.token_embedding.weight)


def test_the_same_seed_gives_the_same_weights(world):
    a, b = (_quick(world, "finetune", steps=4) for _ in range(2))
    assert torch.equal(a.head.linear.weight, b.head.linear.weight)


def test_a_killed_run_goes_on_exactly(world, tmp_path, monkeypatch):
    import medadv.train.adapt as room

    whole = _quick(world, "finetune", steps=12)
    real, calls = room.augment, [0]

    def killed(*args, **options):
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return real(*args, **options)

    fit = room.fit
    monkeypatch.setattr(room, "fit", lambda *a, **o: fit(*a, **{**o, "every": 4}))
    monkeypatch.setattr(room, "augment", killed)
    with pytest.raises(KeyboardInterrupt):
        _quick(world, "finetune", steps=12, checkpoint=tmp_path)
    monkeypatch.setattr(room, "augment", real)
    again = _quick(world, "finetune", steps=12, checkpoint=tmp_path)
    for name, value in whole.head.state_dict().items():
        assert torch.equal(value, again.head.state_dict()[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_again(world, tmp_path, method):
    test = world[3]
    done = _quick(world, method, steps=3)
    image = test.batch(range(4)).image
    with torch.no_grad():
        want = done.head(image)
    folder = save_adapted(done, tmp_path / "a")
    vlm = load(f"local-dir:{folder}", device="cpu")
    assert adapted_folder(f"local-dir:{folder}") == folder
    assert adapted_folder("tiny") is None
    for path in (folder, folder / "head.safetensors"):
        head, classes = load_adapted(path, vlm=vlm)
        assert classes == test.classes
        with torch.no_grad():
            assert torch.allclose(head(image), want, atol=1e-5)


def test_a_damaged_or_foreign_head_is_refused(world, tmp_path):
    vlm, train, _, _ = world
    path = save_pooled(PooledProbe(vlm, train.classes), path=tmp_path / "head.safetensors")
    load_pooled(path, vlm=vlm)
    short = tmp_path / "short.safetensors"
    short.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="cut short"):
        load_adapted(short, vlm=vlm)
    save_pooled(PooledProbe(vlm, train.classes, layers=[0]), path=path)
    assert load_pooled(path, vlm=vlm).layers == (0,)
    ZeroShot.from_prompts(vlm, ["a", "b"])
    with pytest.raises(FileNotFoundError, match="No head at"):
        load_adapted(tmp_path / "none", vlm=vlm)


def test_cross_validation_never_scores_a_patient_it_has_seen(world, monkeypatch):
    import medadv.train.adapt as room

    vlm, train, _val, _test = world
    seen = []
    real = room.adapt

    def spy(vlm, train, val, **options):
        seen.append((set(train.patients), set(val.patients)))
        return real(vlm, train, val, **options)

    monkeypatch.setattr(room, "adapt", spy)
    found = cross_validate(vlm, train, folds=3, method="probe", strength=(0.1,), progress=False)
    assert found.output.shape == (len(train), 2)
    assert len(found.chosen) == 3
    for k, (learnt, chose) in enumerate(seen):
        tested = {p for p, fold in zip(train.patients, found.fold.tolist(), strict=True) if fold == k}
        assert tested
        assert not (tested & learnt)
        assert not (tested & chose)
        assert not (learnt & chose)
    with pytest.raises(ValueError, match="at least 3"):
        cross_validate(vlm, train, folds=2)


def test_wrong_input_is_refused(world):
    vlm, train, val, _ = world
    with pytest.raises(ValueError, match="'method' parameter of adapt"):
        adapt(vlm, train, val, method="magic")
    one = train.select(train.labels == 0)
    with pytest.raises(ValueError, match="at least two classes"):
        adapt(vlm, one, val, method="probe", progress=False)


def test_probe_is_the_logistic_regression(world):
    from sklearn.linear_model import LogisticRegression

    vlm, train, _, test = world
    probe = PooledProbe(vlm, train.classes)
    feature = pooled_features(probe, train, progress=False)
    (solution,) = solve(probe, feature, train.labels, strength=(0.1,))
    install(probe, solution)
    scaled = (feature - feature.mean(0)) / feature.std(0)
    want = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000).fit(scaled.double().numpy(), train.labels)
    other = (pooled_features(probe, test, progress=False) - feature.mean(0)) / feature.std(0)
    with torch.no_grad():
        got = probe(test.batch(range(len(test))).image).softmax(1).numpy()
    assert np.allclose(got, want.predict_proba(other.double().numpy()), atol=1e-4)


def test_a_class_that_training_never_shows_is_never_said(world):
    vlm, train, _, _ = world
    probe = PooledProbe(vlm, (*train.classes, "keratosis"))
    install(probe, solve(probe, pooled_features(probe, train, progress=False), train.labels)[0])
    with torch.no_grad():
        assert (probe(train.batch(range(9)).image).argmax(1) < 2).all()


def test_gradient_reaches_the_pixels(world):
    vlm, train, _, _ = world
    probe = install(PooledProbe(vlm, train.classes), (torch.randn(2, 670), torch.zeros(2)))
    image = train.batch(range(2)).image.requires_grad_()
    (grad,) = torch.autograd.grad(probe(image)[:, 0].sum(), image)
    assert grad.abs().sum() > 0
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    assert torch.autograd.grad(probe(flat)[:, 0].sum(), flat)[0].isfinite().all()


def test_same_text_contrastive_forgives_twins(world):
    vlm = world[0]
    image = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    same = Batch(image=image, index=torch.arange(4), text=["a naevus"] * 4)
    assert same_text_contrastive(vlm, same)["loss"].item() == pytest.approx(np.log(4) / 2, abs=0.3)
    one = Batch(image=image[[0, 0]], index=torch.arange(2), text=["a", "b"])
    assert same_text_contrastive(vlm, one)["loss"] > 0
    with pytest.raises(ValueError, match="must hold captions"):
        same_text_contrastive(vlm, Batch(image=image, index=torch.arange(4)))


def test_balanced_step_weighs_classes_alike():
    label = torch.tensor([0] * 9 + [1, -1])
    step = balanced_step(label, 2, smoothing=0.0)
    logits = torch.zeros(11, 2)
    logits[:10, 0] = 5.0  # always says the common class
    batch = Batch(image=torch.zeros(11, 1), index=torch.arange(11), label=label)
    loss = step(lambda image: logits, batch)["loss"].item()
    losses = torch.nn.functional.cross_entropy(logits[:10], label[:10], reduction="none")
    assert loss == pytest.approx((losses[:9].mean() + losses[9]).item() / 2, rel=1e-5)


def test_augmented_images_are_pixels_and_depend_on_the_generator():
    image = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    one, two, other = (augment(image, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    still = augment(image, generator=torch.Generator().manual_seed(0), upright=True, zoom=0, colour=0)
    assert (still - image).abs().mean() < (one - image).abs().mean()


def test_upright_never_mirrors():
    image = torch.zeros(64, 3, 33, 33)
    image[..., :16] = 1  # bright on the left
    seen = augment(image, generator=torch.Generator().manual_seed(0), upright=True)
    assert (seen[..., :10].mean((1, 2, 3)) > seen[..., -10:].mean((1, 2, 3))).all()
    turned = augment(image, generator=torch.Generator().manual_seed(0))
    assert 10 < (turned[..., :10].mean((1, 2, 3)) > turned[..., -10:].mean((1, 2, 3))).sum() < 54


def test_features_are_quantiles_of_every_depth(world):
    vlm, train, _, _ = world
    probe, image = PooledProbe(vlm, train.classes), train.batch(range(3)).image
    with torch.no_grad():
        got, maps = probe.pooled(image), [image, *vlm.features(image)]
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    want = []
    for one in maps:
        edge = one.shape[2] // 4
        for part in (one, one[:, :, edge:-edge, edge:-edge]):
            want.append(torch.quantile(part.flatten(2), shares, dim=2).permute(1, 2, 0).flatten(1))
    assert torch.allclose(got, torch.cat(want, 1), atol=1e-6)


def test_a_large_tower_is_thinned_out(world, monkeypatch):
    from medadv.models import pooled

    vlm, train, _, _ = world
    assert PooledProbe(vlm, train.classes).layers == (0, 1)
    monkeypatch.setattr(pooled, "_MOST", 500)
    assert PooledProbe(vlm, train.classes).layers == (1,)
