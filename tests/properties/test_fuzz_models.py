"""Any weight file, configuration or head is read, or refused by one sentence of ValueError."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from copy import deepcopy

import open_clip
import pytest
import torch
from fuzzing import answers_or_refuses, fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save, save_file

from medadv.models import VLM, from_folder, load_head
from medadv.models._files import read_weights
from medadv.models._hf import architecture, from_hf_clip, preprocess_of
from medadv.models._preprocess import fit, picture
from medadv.train.adapt import load_adapted

CONFIG = {
    "model_cfg": {
        "embed_dim": 4,
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4},
        "text_cfg": {"context_length": 6, "vocab_size": 517, "width": 8, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "resize_mode": "shortest", "interpolation": "bicubic"},
}
HF = {
    "model_type": "clip",
    "projection_dim": 4,
    "vision_config": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                      "image_size": 8, "patch_size": 4, "hidden_act": "gelu"},
    "text_config": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "vocab_size": 20, "max_position_embeddings": 6, "eos_token_id": 19, "hidden_act": "gelu"},
}  # fmt: skip
PROCESSOR = {
    "do_resize": True, "size": {"shortest_edge": 8}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 8, "width": 8}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "image_processor_type": "CLIPImageProcessor",
}  # fmt: skip

odd = st.sampled_from([
    None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.0, 1e-30, 1e30, 1e308, 2**31, 2**63, 2**70, float("nan"),
    float("inf"), "", "8", "F16", "eos", "none", "gelu", "bicubic", "squash", "clip", "a\0b", "\ud800", "..", "/etc",
    "hf-hub:a/b", "x" * 5000, [], {}, [None], [8, 8], [1, 2, 3], [1e-3] * 4, [["a"]], {"a": 1},
    {"height": 8, "width": 8}, {"shortest_edge": 9},
])  # fmt: skip
values = odd | st.integers() | st.floats() | st.text(max_size=8) | st.lists(odd, max_size=4)
keys = st.sampled_from(
    ["layers", "width", "timm_model_name", "hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs", "custom_text",
     "multimodal_cfg", "pool_type", "act_kwargs", "norm_kwargs", "no_causal_mask", "embed_cls", "attentional_pool",
     "size", "mode", "quick_gelu", "init_logit_scale", "init_logit_bias", "output_dict", "do_pad", "resize_size",
     "weights", "streams", "guarantee", "templates", "classes", "kind", "model", "a"]
)  # fmt: skip


def spots(tree, place=()):
    """Every place in a configuration, the root left out."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*place, key)
        yield from spots(value, (*place, key))


@st.composite
def changed(draw, tree):
    """A configuration with one to three values replaced, removed or added."""
    tree = deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([*spots(tree)] or [()]))
        part = tree
        for key in place[:-1]:
            part = part[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if place and what == "replace":
            part[place[-1]] = deepcopy(draw(values))  # the next change may be inside it
        elif place and what == "remove":
            del part[place[-1]]
        elif isinstance(part, dict):
            part[draw(keys)] = deepcopy(draw(values))
    return tree


@st.composite
def cut(draw, whole):
    """The bytes of a file with some of them changed, put in, taken out or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        # Headers and directories of archives lie at the two ends.
        near = draw(st.sampled_from([64, 600, len(data)]))
        at = draw(st.integers(0, min(near, len(data))))
        at = len(data) - at if draw(st.booleans()) else at
        new = draw(st.binary(max_size=9) | st.sampled_from([b"[" * 300, b"\xff" * 8, b"\0" * 8, b"NaN", b"-1", b"}"]))
        what = draw(st.sampled_from(["over", "over", "in", "out", "off"]))
        data[at : {"over": at + len(new), "in": at, "out": at + 40, "off": len(data)}[what]] = new * (what != "off")
    return bytes(data)


def refused(call):
    """Missing files are FileNotFoundError by contract, with a sentence, too."""

    def inner():
        try:
            return call()
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error

    return answers_or_refuses(inner)


def clip_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**CONFIG["model_cfg"])
    return {name: one.contiguous() for name, one in model.state_dict().items()}


def as_bin(content):
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(1), "c": torch.ones(2, dtype=torch.bfloat16)}
SAFE, BIN = save(STATE, metadata={"format": "pt"}), as_bin({"state_dict": STATE})
HEADER = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    "c": {"dtype": "BF16", "shape": [2], "data_offsets": [32, 36]},
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with a model of 8 x 8 images and a vocabulary of a few merges."""
    root = tmp_path_factory.mktemp("fuzz_models")
    merges = gzip.compress(b"#version\n" + b"\n".join([b"a b", b"c d", b"e f"]))
    (root / "bpe_vocab.txt.gz").write_bytes(merges)
    save_file(clip_state(), root / "open_clip_model.safetensors")
    return root


@pytest.fixture(scope="module")
def vlm(room):
    return from_folder(room, config=CONFIG)


@given(header=changed(HEADER) | st.binary(max_size=80), data=st.sampled_from([36, 36, 36, 0, 35, 100]))
@fuzz
def test_any_safetensors_header_is_read_or_refused(header, data, tmp_path):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    found = refused(lambda: read_weights(path))
    assert found is None or all(one.isfinite().all() for one in found.values())


@given(data=cut(SAFE) | st.binary(max_size=60))
@fuzz
def test_any_damaged_safetensors_file_is_read_or_refused(data, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    refused(lambda: read_weights(path))


objects = st.recursive(
    odd | st.just(STATE["a.weight"]) | st.sampled_from([torch.tensor(torch.nan), torch.zeros(1).expand(2**40)]),
    lambda part: st.dictionaries(st.sampled_from(["state_dict", "model", "module.a", 1, "a"]), part, max_size=3),
    max_leaves=6,
)


@given(data=cut(BIN) | objects.map(as_bin) | st.binary(max_size=60))
@fuzz
def test_any_pickled_file_is_read_or_refused(data, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(data)
    refused(lambda: read_weights(path))


@given(config=changed(CONFIG))
@fuzz
def test_any_open_clip_configuration_is_read_or_refused(config, room):
    (room / "open_clip_config.json").write_text(json.dumps(config))
    vlm = refused(lambda: from_folder(room))
    assert vlm is None or isinstance(vlm, VLM)
    if vlm is not None:  # what was read must work
        image = torch.full((1, 3, 9, 12), 0.5)
        with torch.no_grad():
            assert vlm.encode_image(image).isfinite().all()
            assert vlm.encode_text(["a b"]).isfinite().all()


@given(config=changed(HF))
@fuzz
def test_any_configuration_of_transformers_is_read_or_refused(config):
    refused(lambda: architecture(config))
    refused(lambda: from_hf_clip({"logit_scale": torch.tensor(1.0)}, config=config))


@given(config=changed(PROCESSOR), wide=st.integers(1, 40) | st.just(9000), high=st.integers(1, 40))
@fuzz
def test_any_processor_configuration_is_carried_out_or_refused(config, wide, high, vlm):
    how = refused(lambda: preprocess_of(config, size=8, where="preprocessor_config.json"))
    ready = how and refused(lambda: VLM(vlm.model, vlm.tokenizer, preprocess={**how, "size": 8}))
    if not ready:
        return
    pixels = refused(lambda: picture(Image.new("RGB", (wide, high), (9, 120, 250)), ready.preprocess))
    if pixels is not None:
        assert pixels.shape == (3, ready.image_size, ready.image_size)
        assert 0 <= pixels.min() <= pixels.max() <= 1
    image = refused(lambda: fit(torch.full((1, 3, high, wide), 0.5), ready.preprocess))
    assert image is None or (image.shape == (1, 3, 8, 8) and torch.allclose(image, torch.tensor(0.5), atol=1e-5))


FACTS = {"kind": "LinearProbe", "model": "a", "classes": ["a", "b"], "streams": [[1, "a"]], "guarantee": "fixed"}
SHAPES = st.sampled_from([(2, 4), (2, 4), (2, 4), (4, 2), (2,), (0, 4)])


@given(
    facts=changed(FACTS) | changed({**FACTS, "kind": "ZeroShot", "templates": ["a {}."]}), extra=values, shape=SHAPES
)
@fuzz
def test_any_head_file_is_read_or_refused(facts, extra, shape, vlm, tmp_path):
    state = {"weight": torch.ones(shape), "linear.weight": torch.ones(shape), "linear.bias": torch.ones(shape[0])}
    path = tmp_path / "head.safetensors"
    save_file(state, path, metadata={"medadv_head": json.dumps(facts)})
    refused(lambda: load_head(path, vlm=vlm))
    (tmp_path / "adapted.json").write_text(json.dumps({"classes": ["a", "b"], "sha256": extra}))
    refused(lambda: load_adapted(path, vlm=vlm))
    (tmp_path / "adapted.json").write_text(json.dumps({"classes": extra}))
    shutil.copyfile(path, tmp_path / "other.safetensors")
    refused(lambda: load_adapted(tmp_path / "other.safetensors", vlm=vlm))
