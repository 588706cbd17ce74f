"""Several processes, kills and restarts: the joined log is always the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from linear import Linear, Prototypes, Tower, images
from share_of_a_run import Mortal

from medadv.certify.shards import check_shard, gather, processes, shard_file
from medadv.certify.smooth import certify

HERE = Path(__file__).parent
RUN = {"sigma": 0.4, "n0": 50, "n": 150, "labels": [0, 1, 0, 1, 0, 1, 0], "progress": False}


def heads():
    return {"far": Mortal(), "near": Prototypes(Tower(), 1, classes=2)}


def start(file: Path, *words: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "share_of_a_run.py"), str(file), *words]
    own = {**os.environ, "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=own | environment, stderr=subprocess.PIPE)


def same(log: pd.DataFrame, other: pd.DataFrame) -> bool:
    return log.drop(columns=["time", "weights"]).equals(other.drop(columns=["time", "weights"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pd.DataFrame:
    file = tmp_path_factory.mktemp("whole") / "log.tsv"
    certify(heads(), images(7), file=file, **RUN)
    return gather(file, images=7)


def test_two_processes_one_of_them_killed(tmp_path, whole):
    file = tmp_path / "log.tsv"
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in (0, 1)]
    # The first is killed within its third image, the second goes through.
    running = [start(file, *words, **rank) for words, rank in zip((["500"], []), ranks, strict=True)]
    codes = [one.wait(120) for one in running]
    assert codes == [-9, 0], [one.stderr.read().decode() for one in running]
    with pytest.raises(ValueError, match="lacks 2 of 7 images, the first is 4"):
        gather(file, images=7)
    certify(heads(), images(7), file=file, shard=(0, 2), **RUN)  # it goes on where it was killed
    log = gather(file, images=7)
    assert len(log) == 14
    assert same(log, whole)
    for one in running:
        one.stderr.close()


@pytest.mark.parametrize("of", [1, 2, 3, 9])
def test_any_number_of_processes(of, tmp_path, whole):
    file = tmp_path / "run" / "log.tsv"
    for number in reversed(range(of)):
        rows = certify(heads(), images(7), file=file, shard=(number, of), **RUN)
        assert sorted({row.index for row in rows}) == list(range(number, 7, of))
    assert same(gather(file, images=7), whole)


def test_a_finished_image_is_not_done_again(tmp_path):
    file, counted = tmp_path / "log.tsv", heads()
    first = certify(counted, images(7), file=file, **RUN)
    calls = counted["far"].calls
    assert certify(counted, images(7), file=file, **RUN) == first
    assert counted["far"].calls == calls
    more = {**counted, "new": Linear(5)}  # a further head is certified alone, the others stay
    rows = certify(more, images(7), file=file, **RUN)
    assert [row for row in rows if row.head != "new"] == first
    assert counted["far"].calls == calls


def test_gathered_then_gone_on_with_by_others(tmp_path, whole):
    file = tmp_path / "log.tsv"
    certify(heads(), images(7), file=file, shard=(0, 2), **RUN)
    assert len(gather(file)) == 8
    for number in range(3):
        certify(heads(), images(7), file=file, shard=(number, 3), **RUN)
    assert same(gather(file, images=7), whole)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"sigma": 0.3}, "sigma"), ({"seed": 1}, "seed"), ({"n": 151}, "plan"), ({"n0": 51}, "n0")],
)
def test_the_log_of_another_run_is_refused(change, says, tmp_path):
    file = tmp_path / "log.tsv"
    certify(heads(), images(7), file=file, **RUN)
    with pytest.raises(ValueError, match=f"was written with {says}"):
        certify(heads(), images(7), file=file, **{**RUN, **change})
    with pytest.raises(ValueError, match="another head far"):
        certify({"far": Linear(8)}, images(7), file=file, **RUN)


def test_who_am_i():
    assert processes({}) == (0, 1)
    assert processes({"RANK": "1", "WORLD_SIZE": "4"}) == (1, 4)
    assert processes({"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}) == (2, 3)
    assert check_shard((0, 1)) == (0, 1)
    with pytest.raises(ValueError, match="0 <= number < of"):
        processes({"RANK": "4", "WORLD_SIZE": "4"})
    assert shard_file("a/log.tsv", (0, 1)) == Path("a/log.tsv")
    assert shard_file("a/log.tsv", (1, 2)) == Path("a/log.1of2.tsv")
    with pytest.raises(FileNotFoundError, match="No log at"):
        gather("nowhere/log.tsv")
