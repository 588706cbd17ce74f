"""Damaged logs, shards, files of suites and studies, heads and checkpoints: an answer, or one sentence and a remedy."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from fuzzing import answers_or_refuses, fuzz
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medadv.attacks._suite_file import SuiteFile
from medadv.certify.log_check import audit_log
from medadv.certify.records import Certificate, append_log, merge_logs, read_log, resume_log
from medadv.certify.shards import gather, in_log_order
from medadv.certify.smooth import certify
from medadv.cli.certifying import merge_and_show
from medadv.models._head_file import read_head
from medadv.reports._robustness_run import read_part, write_part
from medadv.train.loop import fit
from medadv.types import Batch, Cost

IMAGES = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
RUN = {"sigma": 0.4, "n0": 5, "n": 20, "progress": False}
STATE = {
    "image": IMAGES,
    "loss": torch.zeros(3),
    "by": torch.tensor([-2, 0, 1]),
    "clean": torch.zeros(3),
}
CELLS = st.sampled_from(
    ["", " ", "-1", "-2", "0", "1", "nan", "inf", "-inf", "1e400", "1e-320", "9" * 19, "9" * 400, "0.5", "True", "x",
     "\x00", "1:02:03", "٣", "'", '"', "\u2028", "certified", "fixed n=20", "fixed", "0.0066", "1_000"]
)  # fmt: skip
JSON = st.recursive(
    st.sampled_from([None, True, -1, 0, 1, 3, 1e400, 10**30, "", "x", "0", "image"]),
    lambda one: (
        st.lists(one, max_size=4) | st.dictionaries(st.sampled_from(["0", "x", "images", "marks"]), one, max_size=3)
    ),
    max_leaves=6,
)
EDITS = st.lists(
    st.tuples(st.sampled_from("cut flip put double drop swap".split()), st.integers(0, 10**6), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)
WORDS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), CELLS), max_size=4)


class Plane(nn.Module):
    """Two classes, split by a plane."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12))

    def forward(self, image: Tensor) -> Tensor:
        side = image.flatten(1) @ self.weight
        return torch.stack([-side, side], 1)


def damaged(content: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    """Do to a file what copying, editors and crashes do."""
    for kind, place, byte in edits:
        at = place % (len(content) + 1)
        if kind == "cut":
            content = content[:at]
        elif kind == "flip" and content:
            at %= len(content)
            content = content[:at] + bytes([byte]) + content[at + 1 :]
        elif kind == "put":
            content = content[:at] + bytes([byte]) * (1 + byte % 5) + content[at:]
        elif kind == "double":
            content = content[:at] + content[at // 2 :]
        elif kind == "drop":
            content = content[:at] + content[at + 1 + byte :]
        else:
            content = content.replace(*((b"\n", b"\r\n") if byte % 2 else (b"\t", b",")))
    return content


def rewritten(content: bytes, words: list[tuple[int, int, str]]) -> bytes:
    """Put other words into cells of a table."""
    rows = [line.split("\t") for line in content.decode().split("\n")]
    for row, column, word in words:
        cells = rows[row % len(rows)]
        cells[column % len(cells)] = word
    return "\n".join("\t".join(cells) for cells in rows).encode()


@cache
def log() -> bytes:
    return _written(lambda path: certify(Plane(), IMAGES, labels=[0, 1, 0], file=path, **RUN))


@cache
def published() -> bytes:
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    for i in range(8):
        label, predict = i % 2, i % 3 - 1
        radius = 0.0 if predict < 0 else 0.31 * (1 + i % 4)
        lines.append(f"{i}\t{label}\t{predict}\t{radius}\t{int(label == predict)}\t0:00:0{i}")
    return "\n".join([*lines, ""]).encode()


@cache
def checkpoint() -> bytes:
    return _written(lambda path: _train(path))


@cache
def suite_file() -> bytes:
    return _written(lambda path: _suite(path).save(STATE, (1, 0), Cost(3, 2, 0, 0.1), last=True))


@cache
def part() -> bytes:
    def write(path: Path) -> None:
        write_part(path.parent, 0, {"clean": torch.zeros(3, 2), "label": torch.zeros(3)}, key="k")
        (path.parent / "000000.safetensors").rename(path)

    return _written(write)


def _written(write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def _train(path: Path) -> None:
    batch = Batch(IMAGES, torch.arange(3), label=torch.tensor([0, 1, 0]))
    fit(Plane(), lambda k: batch, _step, steps=2, progress=False, checkpoint=path, every=1)


def _step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return {"loss": nn.functional.cross_entropy(model(batch.image), batch.label)}


def _suite(path: Path) -> SuiteFile:
    return SuiteFile(path, Plane(), {"a": _step, "b": _step}, IMAGES, torch.tensor([0, 1, 0]), ("x", 1), compare=True)


def reads(content: bytes, call: Callable[[Path], object], *, name: str = "file", **beside: bytes) -> None:
    """Put a file into a folder of its own, and read it; a log that speaks of wrong lines may warn."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for key, value in beside.items():
            (Path(folder) / key.replace("_", ".")).write_bytes(value)
        (Path(folder) / name).write_bytes(content)
        answers_or_refuses(lambda: call(Path(folder) / name))


@fuzz
@given(ours=st.booleans(), words=WORDS, edits=st.just([]) | EDITS)
def test_a_log_is_read_checked_and_gone_on_with_or_refused(ours, words, edits):
    content = damaged(rewritten(log() if ours else published(), words), edits)
    reads(content, read_log)
    reads(content, lambda path: resume_log(path, sigma=0.4, seed=0))
    reads(content, lambda path: audit_log(read_log(path), sigma=0.5, n=1000))
    reads(content, lambda path: certify(Plane(), IMAGES, labels=[0, 1, 0], file=path, **RUN))


@fuzz
@given(words=WORDS, edits=st.just([]) | EDITS, whole=st.booleans())
def test_shards_are_joined_or_refused(words, edits, whole):
    content = damaged(rewritten(log(), words), edits)
    beside = {"log_tsv": log()} if whole else {}
    reads(content, lambda path: gather(path.with_name("log.tsv"), images=3), name="log.0of2.tsv", **beside)
    reads(content, lambda path: merge_logs([path, path], file=path.with_name("all.tsv")))
    reads(content, lambda path: in_log_order(path, _Three()))


class _Three:
    labels = torch.tensor([0, 1, 0])

    def __len__(self) -> int:
        return 3

    def load(self, i: int) -> tuple[Tensor, None]:
        return IMAGES[i], None


@fuzz
@given(facts=JSON, edits=EDITS, as_json=st.booleans())
def test_the_facts_of_a_run_are_read_or_refused(facts, edits, as_json):
    begun = {"images": 3, "model": "m", "data": "d", "shown": [0.1], "options": {}}
    known = begun | facts if isinstance(facts, dict) else facts
    content = json.dumps(known).encode() if as_json else damaged(json.dumps(begun).encode(), edits)
    reads(
        content, lambda path: merge_and_show(path.parent, radii=[0.1]), name="certify_run.json", certify_tsv=b"no log"
    )


@fuzz
@given(alpha=st.floats(0, 1), n=st.integers(-1, 10**12), digits=st.integers(-1, 20) | st.none(),
       radii=st.lists(st.floats(0, 10) | st.sampled_from([0.0, 1e-320, 1e300]), min_size=1, max_size=6))  # fmt: skip
def test_a_log_of_any_radii_is_checked_or_refused(alpha, n, digits, radii):
    lines = [f"{i}\t0\t0\t{radius}" for i, radius in enumerate(radii)]
    content = "\n".join(["idx\tlabel\tpredict\tradius", *lines, ""]).encode()
    reads(content, lambda path: audit_log(read_log(path), sigma=0.5, n=n, alpha=alpha, digits=digits))


@fuzz
@given(edits=st.just([]) | EDITS, about=JSON, whole=st.booleans())
def test_the_file_of_a_suite_is_gone_on_with_or_refused(edits, about, whole):
    from safetensors.torch import save

    marks = {"suite": json.dumps({"marks": about, "place": [1, 0], "cost": [1, 2, 3, 4], "x": about})}
    content = damaged(suite_file() if whole else save(STATE, metadata=marks), edits)
    reads(content, lambda path: _suite(path).load(STATE))


@fuzz
@given(edits=EDITS, tensors=st.sampled_from([{}, {"clean": torch.zeros(2)}, {"clean": torch.zeros(3, 2)}]))
def test_the_part_of_a_study_is_read_or_refused(edits, tensors):
    from safetensors.torch import save

    clean = torch.zeros(3, 2)
    for content in (damaged(part(), edits), save(tensors, metadata={"key": "k"})):
        reads(content, lambda path: read_part(path.parent, 0, key="k", clean=clean), name="000000.safetensors")


@fuzz
@given(edits=st.just([]) | EDITS, facts=JSON)
def test_a_head_file_is_read_or_refused(edits, facts):
    from safetensors.torch import save

    held = {"kind": "LinearProbe", "classes": ["a", "b"], "model": "m", "guarantee": "fixed", "streams": []}
    known = held | facts if isinstance(facts, dict) else facts
    content = save({"linear.weight": torch.zeros(2, 4)}, metadata={"medadv_head": json.dumps(known)})
    reads(damaged(content, edits), read_head, name="head.safetensors")


@fuzz
@given(edits=EDITS, key=st.sampled_from("model optimiser history batches done function steps lr dtype".split()),
       value=JSON, structured=st.booleans())  # fmt: skip
def test_a_training_checkpoint_is_gone_on_with_or_refused(edits, key, value, structured):
    content = damaged(checkpoint(), edits)
    if structured:
        content = _written(lambda path: _changed(path, key, value))
    reads(content, _train)


def _changed(path: Path, key: str, value: object) -> None:
    path.write_bytes(checkpoint())
    state = torch.load(path, weights_only=True)
    torch.save({**state, key: value}, path)


@pytest.mark.parametrize("made", [log, published, checkpoint, suite_file, part])
def test_what_nobody_damaged_is_read(made):
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("000000.safetensors" if made is part else "file")
        path.write_bytes(made())
        if made in (log, published):
            assert len(read_log(path)) in (3, 8)
        elif made is checkpoint:
            _train(path)
        elif made is suite_file:
            assert _suite(path).load(STATE)[1] == (1, 0)
        else:
            assert read_part(path.parent, 0, key="k", clean=torch.zeros(3, 2)) is not None


def test_no_line_is_lost_when_a_torn_log_is_gone_on_with():
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(log()[:-7])
        assert len(resume_log(path)) == 2
        rows = read_log_of(log())
        append_log(path, [Certificate.from_row(rows[2])])
        assert path.read_bytes() == log()


def read_log_of(content: bytes) -> list[dict]:
    with TemporaryDirectory() as folder:
        (Path(folder) / "log").write_bytes(content)
        return read_log(Path(folder) / "log").to_dict("records")
