"""The training loop: it learns, resumes bit by bit, and leaves nothing behind but the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medadv._lock import locked
from medadv.data import Pairs, Row
from medadv.train.loop import History, draws, fit, learning_rate
from medadv.types import Batch

TRUTH = torch.randn(12, generator=torch.Generator().manual_seed(0))


def batches(k: int) -> Batch:
    stream = torch.Generator().manual_seed(k)
    image = torch.rand(32, 3, 2, 2, generator=stream)
    return Batch(image, torch.arange(32), label=((image - 0.5).flatten(1) @ TRUTH > 0).long())


def network(seed: int = 0, dropout: float = 0.2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2))


def step(model, batch):
    logits = model(batch.image)
    return {
        "loss": F.cross_entropy(logits, batch.label),
        "right": (logits.argmax(1) == batch.label).float().mean(),
    }


def quick(model, data=batches, act=step, **how):
    return fit(model, data, act, **{"steps": 20, "progress": False, **how})


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    pass


def killed_at(k: int):
    def data(number):
        if number >= k:
            raise Killed
        return batches(number)

    return data


def test_it_learns():
    model = network(dropout=0.0)
    history = quick(model, steps=300, lr=1e-2)
    assert history.values["right"][0] < 0.85
    assert history.last("right") > 0.95
    assert history.last() < 0.5 * history.values["loss"][0]
    assert history.step == list(range(10, 301, 10))


def test_a_killed_run_goes_on_bit_by_bit(tmp_path):
    whole, first, second = network(), network(), network(seed=5)
    told = quick(whole, checkpoint=tmp_path / "whole.pt", every=10)
    with pytest.raises(Killed):
        quick(first, data=killed_at(14), checkpoint=tmp_path / "killed.pt", every=10)
    torch.manual_seed(99)  # what the world drew meanwhile does not matter
    second.eval()
    resumed = quick(second, checkpoint=tmp_path / "killed.pt", every=10)
    assert equal(weights(whole), weights(second))
    assert resumed == told
    assert resumed.step == [10, 20]
    again = network(seed=6)
    assert quick(again, checkpoint=tmp_path / "killed.pt", every=10) == told  # done: no step
    assert equal(weights(again), weights(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.pt", "whole.pt"], "nothing half"


def test_the_same_seed_is_the_same_run_and_another_is_not():
    runs = [network(), network(), network()]
    for model, seed in zip(runs, (1, 1, 2), strict=True):
        quick(model, seed=seed)
    assert equal(weights(runs[0]), weights(runs[1]))
    assert not equal(weights(runs[0]), weights(runs[2]))


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_streams_modes_and_gradients_are_left_as_they_were(error):
    model = network()
    model.eval()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    modes = []

    def act(model, batch):
        modes.append(model.training)
        if error and len(modes) == 3:
            raise error("stop")
        return step(model, batch)

    if error:
        with pytest.raises(error):
            quick(model, act=act)
    else:
        quick(model, act=act)
    assert all(modes)
    assert not model.training
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("every", [3, 100])
def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(tmp_path, every):
    def act(model, batch):
        return {"loss": step(model, batch)["loss"] * (math.nan if batch.index[0] == 4 else 1)}

    def counted(k):
        return Batch(batches(k).image, torch.full((32,), k), label=batches(k).label)

    with pytest.raises(FloatingPointError, match=r"The loss is nan at step \d+. Lower lr, now 0.5"):
        quick(network(), data=counted, act=act, lr=0.5, checkpoint=tmp_path / "c.pt", every=every)
    if (tmp_path / "c.pt").exists():
        saved = torch.load(tmp_path / "c.pt", weights_only=True)
        assert saved["done"] == 3
        assert all(value.isfinite().all() for value in saved["model"].values())


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"steps": 30}, "steps 20 there, 30 here"),
        ({"lr": 0.1}, "lr 0.001 there"),
        ({"seed": 7}, "seed 0 there"),
        ({"batch_size": 8}, "batch_size"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"schedule": "constant"}, "schedule"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, other, what):
    quick(network(), checkpoint=tmp_path / "c.pt")
    model = network()
    before = weights(model)
    with pytest.raises(ValueError, match=rf"belongs to another run \(.*{what}.*Delete it to start anew"):
        quick(model, checkpoint=tmp_path / "c.pt", **other)
    assert equal(before, weights(model))


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    quick(network(), checkpoint=tmp_path / "c.pt")
    with pytest.raises(ValueError, match="another architecture"):
        quick(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "code", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "c.pt"
    quick(network(), checkpoint=path)
    whole = path.read_bytes()
    if damage == "code":
        torch.save({"model": print}, path)
    elif damage == "other":
        torch.save({"a": 1}, path)
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    model = network()
    before = weights(model)
    with pytest.raises(ValueError, match=r"c.pt cannot be read .*Delete it to start anew"):
        quick(model, checkpoint=path)
    assert equal(before, weights(model))


def numbered(n: int) -> Pairs:
    rows = tuple(Row(0, (f"{i} one", f"{i} two"), f"p{i}") for i in range(n))
    return Pairs("numbered", ("a",), rows, lambda i: (torch.full((3, 2, 2), i / 100), None))


def test_draws_cover_every_image_once_an_epoch():
    batch_at = draws(numbered(12), 4, seed=1)
    epochs = [[i for k in range(3 * e, 3 * e + 3) for i in batch_at(k).index.tolist()] for e in range(4)]
    for order in epochs:
        assert sorted(order) == list(range(12))
    assert len({tuple(order) for order in epochs}) == 4
    assert {text for k in range(60) for text in batch_at(k).text} == {
        f"{i} {w}" for i in range(12) for w in ("one", "two")
    }
    uneven = draws(numbered(11), 4)
    for e in range(5):
        order = [i for k in (2 * e, 2 * e + 1) for i in uneven(k).index.tolist()]
        assert len(set(order)) == 8  # three are left out of this epoch, others of the next
    assert {i for k in range(20) for i in uneven(k).index.tolist()} == set(range(11))


def test_a_draw_depends_on_seed_and_number_alone():
    forth, back = draws(numbered(10), 3, seed=2), draws(numbered(10), 3, seed=2)
    want = [(b.index.tolist(), b.text) for b in map(forth, range(9))]
    got = [(b.index.tolist(), b.text) for b in map(back, reversed(range(9)))]
    assert want == got[::-1]
    assert draws(numbered(10), 3, seed=3)(0).index.tolist() != want[0][0]
    assert len(draws(numbered(3), 128)(5)) == 3
    with pytest.raises(ValueError, match=r"numbered is empty. Check the split"):
        draws(numbered(0), 4)


def test_learning_rates():
    rate = {k: learning_rate(k, steps=110, peak=2.0, warmup=10) for k in (0, 4, 9, 10, 60, 109)}
    assert rate == pytest.approx({0: 0.2, 4: 1.0, 9: 2.0, 10: 2.0, 60: 1.0, 109: 0.000493}, abs=1e-4)
    assert learning_rate(500, steps=1000, peak=2.0, warmup=10, schedule="constant") == 2.0
    assert learning_rate(0, steps=1, peak=2.0, warmup=0) == 2.0
    with pytest.raises(ValueError, match="must be cosine or constant; got 'linear'"):
        quick(network(), schedule="linear")


def test_only_the_chosen_weights_move():
    model = network()
    before = weights(model)
    quick(model, params=model[4].parameters(), lr=0.1)
    after = weights(model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"4.weight", "4.bias"}
    assert model[1].weight.grad is None
    frozen = network()
    frozen[1].requires_grad_(False)
    quick(frozen, lr=0.1)
    assert torch.equal(frozen[1].weight, before["1.weight"])
    with pytest.raises(ValueError, match="'params' parameter of fit must hold weights"):
        quick(network(), params=[])


def test_weight_decay_spares_vectors():
    model = network()
    before = weights(model)
    quick(
        model,
        act=lambda m, b: {"loss": 0 * sum(p.sum() for p in m.parameters())},
        steps=10,
        lr=0.1,
        weight_decay=0.5,
    )
    after = weights(model)
    assert torch.equal(before["4.bias"], after["4.bias"])
    assert after["4.weight"].norm() < 0.9 * before["4.weight"].norm()


def test_bfloat16_runs_and_leaves_float32_weights():
    model, seen = network(dropout=0.0), []

    def act(model, batch):
        seen.append(model(batch.image).dtype)
        return step(model, batch)

    history = quick(model, act=act, steps=200, lr=1e-2, dtype="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert history.last("right", 3) > 0.9


def test_log_sees_what_history_keeps_and_bad_steps_are_named():
    rows = []
    history = quick(network(), steps=15, log=lambda k, values: rows.append((k, values["loss"])))
    assert rows == list(zip(history.step, history.values["loss"], strict=True))
    assert [k for k, _ in rows] == [10, 15]
    with pytest.raises(ValueError, match=r"must return a dictionary with 'loss'; got \['los'\]"):
        quick(network(), act=lambda m, b: {"los": torch.ones(())})


def test_history_rows_may_come_and_go():
    history = History()
    assert repr(history) == "History(empty)"
    history.add(1, {"loss": 3.0})
    history.add(2, {"loss": 1.0, "extra": 5.0})
    history.add(3, {"loss": 2.0})
    assert all(len(column) == 3 for column in history.values.values())
    assert history.last("loss", 2) == 1.5
    assert history.last("extra") == 5.0
    assert repr(history) == "History(3 steps; loss 2, extra 5)"


@pytest.mark.parametrize("norm", [True, False])
def test_the_statistics_of_batch_norm_can_be_kept(norm):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(12), torch.nn.Linear(12, 2))
    before = model[1].running_mean.clone()

    def batch(k):
        return Batch(torch.rand(8, 3, 2, 2), torch.arange(8))

    def step(model, batch):
        return {"loss": model(batch.image).square().mean()}

    fit(model, batch, step, steps=3, norm=norm, progress=False)
    assert torch.equal(model[1].running_mean, before) != norm
    assert model[1].training


class Shuffled:
    """Batches of another data set of the same shapes."""

    def __call__(self, k):
        return batches(k + 1000)


def other_step(model, batch):
    terms = step(model, batch)
    return {**terms, "loss": 2 * terms["loss"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": Shuffled()}, "other images or texts in batch 0"),
        ({"act": other_step}, "another step"),
        ({"lr": 2e-3}, "lr 0.001 there, 0.002 here"),
        ({"batch_size": 7}, "batch_size"),
    ],
)
def test_a_checkpoint_knows_its_data_step_and_settings(change, says, tmp_path):
    file = tmp_path / "run.pt"
    quick(network(), checkpoint=file, steps=6, every=3)
    kept, model = file.read_bytes(), network(seed=3)
    before = weights(model)
    with pytest.raises(ValueError, match=f"belongs to another run .{says}.*Delete it to start anew"):
        quick(model, **{"checkpoint": file, "steps": 6, "every": 3, **change})
    assert equal(weights(model), before), "nothing was taken over"
    assert file.read_bytes() == kept


def test_a_checkpoint_knows_the_rows_of_a_data_set(tmp_path):
    image = torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))

    def pairs(labels):
        rows = tuple(Row(label, ("x",), f"r{i}") for i, label in enumerate(labels))
        return Pairs("toy", ("a", "b"), rows, lambda i: (image[i], None))

    how = {"checkpoint": tmp_path / "run.pt", "steps": 4, "batch_size": 4}
    first = quick(network(), data=pairs([0, 1] * 4), **how)
    assert quick(network(seed=1), data=pairs([0, 1] * 4), **how) == first
    with pytest.raises(ValueError, match="other rows or labels of the data"):
        quick(network(), data=pairs([1, 0] * 4), **how)


def test_weights_that_are_not_trained_must_be_the_same(tmp_path):
    file = tmp_path / "run.pt"

    def fresh(frozen):
        model = network()
        with torch.no_grad():
            model[1].weight.fill_(frozen)
        return model

    first = quick(fresh(0.25), checkpoint=file, steps=4)
    assert quick(fresh(0.25), checkpoint=file, steps=4) == first, "all are trained here"
    file.unlink()
    kept = [fresh(0.25), fresh(0.25), fresh(0.5)]
    first = quick(kept[0], params=kept[0][4].parameters(), checkpoint=file, steps=4)
    assert quick(kept[1], params=kept[1][4].parameters(), checkpoint=file, steps=4) == first
    with pytest.raises(ValueError, match="other weights among those that are not trained"):
        quick(kept[2], params=kept[2][4].parameters(), checkpoint=file, steps=4)


def test_a_checkpoint_of_an_earlier_version_or_of_another_process_is_refused(tmp_path):
    file = tmp_path / "run.pt"
    with locked(file), pytest.raises(ValueError, match="run.pt is being written by process"):
        quick(network(), checkpoint=file, steps=4)
    assert not file.exists()
    quick(network(), checkpoint=file, steps=4)
    state = torch.load(file, weights_only=True)
    torch.save({k: v for k, v in state.items() if k not in ("function", "batches")}, file)
    with pytest.raises(ValueError, match="earlier version, which did not note its data. Delete it"):
        quick(network(), checkpoint=file, steps=4)


def test_the_same_inside_inference_mode_and_with_double_numbers():
    outside, inside, double = network(), network(), network()
    told = quick(outside)
    with torch.inference_mode():
        assert quick(inside) == told
    assert equal(weights(inside), weights(outside))
    held = [batches(k) for k in range(20)]
    torch.set_default_dtype(torch.float64)
    try:
        assert quick(double, data=held.__getitem__) == told
    finally:
        torch.set_default_dtype(torch.float32)
    assert equal(weights(double), weights(outside))
    with torch.inference_mode():
        made_there = network()
    with pytest.raises(
        ValueError, match="'model' parameter of fit must be made outside torch.inference_mode.* Make it"
    ):
        quick(made_there)
