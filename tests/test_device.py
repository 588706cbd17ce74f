from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from medadv._device import autocast, dtype_of, pick


def test_auto_takes_the_best_there_is(monkeypatch):
    for cuda, mps, best in [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert pick("auto") == pick() == torch.device(best)


def test_a_named_device_must_be_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick("cpu") == pick(torch.device("cpu")) == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps", "meta"):
        with pytest.raises(ValueError, match=r"must be a device of this machine; got .*Use cpu or auto"):
            pick(name)
    with pytest.raises(ValueError, match=r"must be auto, cpu, cuda, cuda:N or mps; got 'gpu'. Use auto"):
        pick("gpu")


def test_number_formats():
    assert dtype_of(None) == dtype_of("fp32") == dtype_of("float32") == torch.float32
    assert dtype_of("bf16") == dtype_of("bfloat16") == dtype_of(torch.bfloat16) == torch.bfloat16
    assert dtype_of("fp16") == torch.float16
    for name in ("int8", "double", torch.int64):
        with pytest.raises(ValueError, match="Use bfloat16 or float32"):
            dtype_of(name)


def test_autocast_does_nothing_in_float32_and_halves_products_otherwise():
    cpu, a = torch.device("cpu"), torch.ones(2, 2)
    assert isinstance(autocast(cpu, torch.float32), nullcontext)
    with autocast(cpu, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32
