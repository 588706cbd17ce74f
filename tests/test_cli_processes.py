"""One command, several processes: started by Lightning Fabric or by torchrun, the log is that of a single one."""

from __future__ import annotations

import os
import subprocess
import sys

import torch
from test_cli import refused, run

from medadv._device import pick
from medadv.certify.records import read_log

ASKED = ("certify", "--sigma", "0.1", "--n", "40", "--n0", "10", "--limit", "3", "--device", "cpu")
BY_TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "medadv")


def started(*command: str) -> str:
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300,
                          env={**alone, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder):
    return read_log(folder / "certify.tsv").drop(columns="time").to_dict("records")


def test_fabric_and_torchrun_make_the_log_of_one_process(tmp_path):
    whole, fabric, torchrun = (tmp_path / name for name in ("whole", "fabric", "torchrun"))
    run(*ASKED, "--out", whole)
    told = started("-m", "medadv", *ASKED, "--devices", "2", "--out", str(fabric))
    assert told.count("Planned:") == 1  # one of the two speaks
    assert "3 images on 2 devices" in told
    assert rows(fabric) == rows(whole)
    assert (fabric / "certify.html").is_file()
    told = started(*BY_TORCHRUN, *ASKED, "--out", str(torchrun))
    assert "medadv certify --merge" in told
    assert not (torchrun / "certify.tsv").exists()
    run("certify", "--merge", "--out", torchrun)
    assert rows(torchrun) == rows(whole)


def test_what_does_not_go_with_several_devices(tmp_path):
    refused("certify", "--sigma", 0.1, "--devices", 2, match="The --devices option needs a folder")
    for other in (("--shard", "0/2"), ("--seconds", 9)):
        words = ("certify", "--sigma", 0.1, "--devices", 2, "--out", tmp_path, *other)
        refused(*words, match=f"so {other[0]} must be left out")


def test_each_process_of_a_launcher_has_its_own_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert pick("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick("auto") == pick("cuda") == torch.device("cuda:1")
    assert pick("cuda:0") == torch.device("cuda:0")  # who names a card gets it
