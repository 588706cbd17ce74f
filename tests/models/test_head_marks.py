"""What a certificate of a head rests on, and which noise it has seen, survive being saved."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medadv.certify.noise_stream import Stream
from medadv.certify.test_time import TestTime
from medadv.certify.votes import guarantee_of, refuse_fitted
from medadv.models import LinearProbe, ZeroShot, load, load_head, save_head
from medadv.models.pooled import PooledProbe, load_pooled, save_pooled
from medadv.models.prompt import Prompt, marked


@pytest.fixture(scope="module")
def vlm():
    return load("tiny", device="cpu")


@pytest.mark.parametrize("kind", ["sentences", "probe"])
def test_marks_are_kept(kind, vlm, tmp_path):
    head = ZeroShot.from_prompts(vlm, ["a", "b"]) if kind == "sentences" else LinearProbe(vlm, classes=["a", "b"])
    streams = (Stream(3, "estimate"), Stream(0, "train"))
    path = save_head(marked(head, guarantee="prompt-frozen-at-x", streams=streams), path=tmp_path / "h")
    again = load_head(path, vlm=vlm)
    assert guarantee_of(again) == "prompt-frozen-at-x"
    assert again.streams == streams
    with pytest.raises(ValueError, match="head h was fitted"):
        refuse_fitted({"h": again}, seed=3, roles=("estimate",))
    refuse_fitted({"h": again}, seed=4, roles=("estimate",))


def test_a_prompt_tuned_at_an_image_never_comes_back_as_fixed(vlm, tmp_path):
    prompt = Prompt(vlm, ["a", "b"])
    tuned = TestTime(prompt, views=4)
    feature = torch.nn.functional.normalize(torch.randn(4, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    at = load_head(save_head(tuned.at(feature), path=tmp_path / "at"), vlm=vlm)
    assert guarantee_of(at) == "prompt-frozen-at-x"
    for other in (tuned, prompt):
        with pytest.raises(ValueError, match="must be a ZeroShot or a LinearProbe; got"):
            save_head(other, path=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert guarantee_of(load_head(save_head(prompt.head(), path=tmp_path / "p"), vlm=vlm)) == "fixed"


def test_files_without_marks_and_with_broken_ones(vlm, tmp_path):
    path = save_head(ZeroShot.from_prompts(vlm, ["a", "b"]), path=tmp_path / "h")
    state = load_file(path)
    with safe_open(str(path), framework="pt") as file:
        facts = json.loads(file.metadata()["medadv_head"])
    old = {name: value for name, value in facts.items() if name not in ("guarantee", "streams")}
    save_file(state, tmp_path / "old", metadata={"medadv_head": json.dumps(old)})
    head = load_head(tmp_path / "old", vlm=vlm)
    assert (guarantee_of(head), head.streams) == ("fixed", ())
    save_file(state, tmp_path / "bad", metadata={"medadv_head": json.dumps({**facts, "streams": [["x"]]})})
    with pytest.raises(ValueError, match="which noise its head was fitted on"):
        load_head(tmp_path / "bad", vlm=vlm)


def test_pooled_probes_keep_theirs(vlm, tmp_path):
    probe = marked(PooledProbe(vlm, ["a", "b"]), streams=[Stream(1, "train")])
    again = load_pooled(save_pooled(probe, path=tmp_path / "p"), vlm=vlm)
    assert again.streams == (Stream(1, "train"),)
