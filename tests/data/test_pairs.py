"""An image-text data set: selecting, batching and grouping keep rows and pictures together."""

from __future__ import annotations

import pytest
import torch

from medadv.data import Pairs, Row


def small(n: int = 10, masks: bool = True, **more) -> Pairs:
    rows = tuple(
        Row(
            label=i % 3,
            captions=tuple(f"{i} said in way {k}" for k in range(4)),
            patient=f"p{i // 2}",
            attributes={"sex": ("female", "male")[i % 2]} if i < 8 else {},
            split=("train", "val")[i >= 6],
        )
        for i in range(n)
    )

    def load(i):
        return torch.full((3, 4, 5), i / 100), torch.full((1, 4, 5), float(i % 2)) if masks else None

    return Pairs("small", ("a", "b", "c"), rows, load, **more)


def test_what_is_known_without_looking():
    pairs = small()
    assert len(pairs) == 10
    assert repr(pairs) == "Pairs(small: 10 images, 3 classes)"
    assert pairs.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert pairs.labels.dtype == torch.int64
    assert pairs.patients[:3] == ("p0", "p0", "p1")


def test_groups_are_sorted_and_unknown_is_minus_one():
    numbers, names = small().groups("sex")
    assert names == ("female", "male")
    assert numbers.tolist() == [0, 1] * 4 + [-1, -1]
    assert torch.equal(small(group_by="sex").groups()[0], numbers)
    with pytest.raises(ValueError, match=r"must be one of \['sex'\]; got 'age'"):
        small().groups("age")


def test_a_batch_holds_everything_of_its_rows():
    batch = small(group_by="sex").batch([7, 2, 8])
    assert batch.index.tolist() == [7, 2, 8]
    assert batch.image[:, 0, 0, 0].tolist() == pytest.approx([0.07, 0.02, 0.08])
    assert batch.mask[:, 0, 0, 0].tolist() == [1, 0, 0]
    assert batch.label.tolist() == [1, 2, 2]
    assert batch.group.tolist() == [1, 0, -1]
    assert batch.text == ["7 said in way 0", "2 said in way 0", "8 said in way 0"]
    plain = small(masks=False).batch(torch.tensor([1]))
    assert plain.mask is None
    assert plain.group is None


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([9, 0, 3], [9, 0, 3]),
        (torch.tensor([4, 4]), [4, 4]),
        (torch.arange(10) > 7, [8, 9]),
        ("val", [6, 7, 8, 9]),
        (range(2), [0, 1]),
    ],
)
def test_select_keeps_rows_and_pictures_together(rows, kept):
    part = small().select(rows)
    assert [row.captions[0].split()[0] for row in part.rows] == [str(i) for i in kept]
    assert [round(100 * float(part.load(i)[0].mean())) for i in range(len(part))] == kept
    last = part.select([len(part) - 1])
    assert round(100 * float(last.load(0)[0].mean())) == kept[-1]
    assert part.batch(range(len(part))).index.tolist() == list(range(len(kept)))


def test_select_says_which_splits_there_are_and_forgets_a_group_nobody_has():
    with pytest.raises(ValueError, match=r"one of the splits \['train', 'val'\]; got 'test'"):
        small().select("test")
    assert small(group_by="sex").select([8, 9]).batch([0]).group is None
    assert len(small().select([])) == 0
    with pytest.raises(ValueError, match="mask of 10 rows; got one of 4"):
        small().select(torch.ones(4, dtype=torch.bool))


def test_captions_are_drawn_by_seed_and_row_alone():
    pairs = small()
    whole = pairs.batch(range(10), seed=5).text
    assert pairs.batch([7, 3], seed=5).text == [whole[7], whole[3]]
    assert pairs.batch(range(10), seed=6).text != whole
    assert len({text.split()[-1] for text in whole}) > 1, "every row draws for itself"
    assert {pairs.batch([0], seed=s).text[0] for s in range(60)} == set(pairs.rows[0].captions)
    mute = Pairs("mute", ("a",), (Row(0, (), "p"),), pairs.load)
    assert mute.batch([0]).text == mute.batch([0], seed=1).text == [""]


def test_batches_walk_once_in_order_or_shuffled_by_the_seed():
    pairs = small()
    assert [batch.index.tolist() for batch in pairs.batches(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first = torch.cat([batch.index for batch in pairs.batches(4, shuffle=True, seed=1)]).tolist()
    assert sorted(first) == list(range(10)) != first
    again = torch.cat([batch.index for batch in pairs.batches(3, shuffle=True, seed=1)]).tolist()
    assert again == first
    assert torch.cat([batch.index for batch in pairs.batches(4, shuffle=True, seed=2)]).tolist() != first
    assert [batch.text[0] for batch in pairs.batches(10)] == ["0 said in way 0"]


def test_progress_goes_to_stderr_only(capsys):
    list(small().batches(4, progress=True))
    out = capsys.readouterr()
    assert out.out == ""
    assert "small" in out.err
