from __future__ import annotations

import json
import pickle

import make_models
import pytest
import torch
from safetensors.torch import load_file, save_file

from medadv.models import load
from medadv.models._files import read_weights


def damage(folder, name="open_clip_model.safetensors", **changes):
    state = load_file(folder / name)
    state.update(changes)
    save_file({key: one for key, one in state.items() if one is not None}, folder / name)


@pytest.mark.parametrize("kind", ["open_clip", "hf"])
@pytest.mark.parametrize("cut", [0, 5, 200, -1, -1000])
def test_truncated_weights(kind, cut, copy):
    folder = copy("vit" if kind == "open_clip" else "hf")
    path = folder / ("open_clip_model.safetensors" if kind == "open_clip" else "model.safetensors")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"is cut short.*Download it again"):
        load(f"local-dir:{folder}", device="cpu")


@pytest.mark.parametrize("cut", [0, 300, 50_000, -1000])
def test_truncated_bin(cut, copy):
    folder = copy("biomed")
    path = folder / "open_clip_pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut short or damaged|is damaged"):
        load(f"local-dir:{folder}", device="cpu")


def test_a_pointer_of_git_lfs(copy):
    folder = copy("vit")
    (folder / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="pointer of Git LFS"):
        load(f"local-dir:{folder}")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_not_run(copy, capsys):
    folder = copy("biomed")
    torch.save({"state_dict": Evil()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match="would have to run code"):
        load(f"local-dir:{folder}")
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}, protocol=2))
    with pytest.raises(ValueError, match=r"run code|damaged"):
        load(f"local-dir:{folder}")
    assert "code ran" not in capsys.readouterr().out


def test_missing_files(copy, tmp_path):
    folder = copy("vit")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"No weights in .* it must hold open_clip_model.safetensors"):
        load(f"local-dir:{folder}")
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"No model in .* must hold open_clip_config.json"):
        load(f"local-dir:{folder}")
    with pytest.raises(FileNotFoundError, match="No model folder at"):
        load(f"local-dir:{tmp_path / 'nowhere'}")
    folder = copy("hf")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"No preprocessor_config.json"):
        load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text_projection": None}, r"1 missing \(text_projection\)"),
        ({"visual.more": torch.zeros(2)}, r"1 left over \(visual.more\)"),
        ({"visual.proj": torch.zeros(2, 2)}, r"1 of another shape \(visual.proj\)"),
    ],
)
def test_weights_that_do_not_match(changes, says, copy):
    folder = copy("vit")
    damage(folder, **changes)
    with pytest.raises(ValueError, match=f"must fit the architecture of its configuration; got {says}"):
        load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not readable as JSON"),
        ("[]", "must hold a JSON dictionary"),
        ("{}", "must hold model_cfg"),
        (
            '{"model_cfg": {"embed_dim": 8, "vision_cfg": {"zzz": 1}, "text_cfg": {}}}',
            "must hold only keys that open_clip .* knows; got 'zzz'.*pip install --upgrade open_clip_torch",
        ),
        (
            '{"embed_dim": 8, "vision_cfg": {"timm_model_name": "hf-hub:a/b"}, "text_cfg": {}}',
            "fetched from elsewhere",
        ),
    ],
)
def test_damaged_configuration(text, says, copy):
    folder = copy("vit")
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        load(f"local-dir:{folder}")


def test_bert_without_its_files(copy):
    folder = copy("biomed")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs the config.json of somebody/Small-BERT. Copy it into"):
        load(f"local-dir:{folder}")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="needs the tokenizer of somebody/Small-BERT"):
        load(f"local-dir:{folder}")


def test_a_tokenizer_of_another_model(copy):
    folder = copy("biomed")
    from transformers import BertTokenizerFast

    (folder / "words.txt").write_text("\n".join([*make_models.WORDS, "more", "words"]))
    BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    with pytest.raises(ValueError, match="The tokenizer knows 25 tokens, the text tower only 23"):
        load(f"local-dir:{folder}")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer files in .* cannot be read"):
        load(f"local-dir:{folder}")


def raw(path, header, data=b""):
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


LYING = {
    "a shape of more numbers": ({"a": entry([3], 0, 8)}, "contradicts itself: shape .3., dtype F32"),
    "a shape that overflows": ({"a": entry([2**62, 4], 0, 8)}, "contradicts itself"),
    "an unknown dtype": ({"a": entry([2], 0, 8, "F31")}, "contradicts itself: shape .2., dtype F31"),
    "a negative offset": ({"a": entry([2], -8, 0)}, "contradicts itself"),
    "offsets backwards": ({"a": entry([0], 8, 0)}, "contradicts itself"),
    "an entry that is a list": ({"a": [1, 2]}, "contradicts itself"),
    "true as a number": ({"a": entry([True], 0, 4)}, "contradicts itself"),
    "tensors that overlap": ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, "overlap or leave holes at byte 8"),
    "a hole": ({"a": entry([1], 4, 8)}, "overlap or leave holes at byte 0"),
    "less than the file": ({"a": entry([1], 0, 4)}, "is cut short: "),
    "a list": ([1, 2], "no readable safetensors header"),
    "numbers as metadata": ({"__metadata__": {"a": 1}, "a": entry([2], 0, 8)}, "no readable safetensors header"),
    "deep nesting": (b"[" * 100_000, "no readable safetensors header"),
    "no text": (b"\xff\xfe", "no readable safetensors header"),
    "no tensor": ({"__metadata__": {}}, "is cut short: "),
}


@pytest.mark.parametrize("name", LYING)
def test_a_safetensors_header_that_lies_is_refused(name, tmp_path):
    header, says = LYING[name]
    with pytest.raises(ValueError, match=f"{says}.*Download it again"):
        read_weights(raw(tmp_path / "a.safetensors", header, b"12345678"))


def test_a_safetensors_header_beyond_the_format_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(100_000_100)  # a hole in the file, nothing on the disk
    with pytest.raises(ValueError, match=r"has a header of 100000001 bytes, more than the format allows"):
        read_weights(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["vit", "hf", "biomed"])
def test_weights_that_are_not_finite_are_refused(kind, bad, copy):
    folder = copy(kind)
    if kind == "biomed":
        path = folder / "open_clip_pytorch_model.bin"
        state = torch.load(path, weights_only=True)
        state["logit_scale"] = torch.tensor(bad)
        torch.save(state, path)
    else:
        damage(folder, "model.safetensors" if kind == "hf" else "open_clip_model.safetensors",
               logit_scale=torch.tensor(bad))  # fmt: skip
    with pytest.raises(ValueError, match=r"must be finite numbers; got NaN or infinity in 1 tensor\(s\) \(logit_scale"):
        load(f"local-dir:{folder}", device="cpu")


def test_values_that_no_model_has_are_refused(copy):
    folder = copy("resnet")
    damage(folder, **{"visual.bn1.running_var": -torch.ones(4)})
    with pytest.raises(ValueError, match=r"variances of at least 0 .* got others in visual.bn1.running_var"):
        load(f"local-dir:{folder}", device="cpu")
    folder = copy("vit")
    damage(folder, logit_scale=torch.tensor(100.0))
    with pytest.raises(ValueError, match=r"whose exponential is finite; got others in logit_scale"):
        load(f"local-dir:{folder}", device="cpu")


def edit(folder, *place, value, name="open_clip_config.json"):
    whole = json.loads((folder / name).read_text())
    part = whole
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (folder / name).write_text(json.dumps(whole))


CONFIGS = [
    (("model_cfg", "text_cfg"), None, "must hold model_cfg"),
    (("model_cfg",), [1, 2], "must hold model_cfg"),
    (("model_cfg", "vision_cfg", "patch_size"), 0, "cannot be built by open_clip"),
    (("model_cfg", "vision_cfg", "width"), "wide", "cannot be built by open_clip"),
    (("model_cfg", "vision_cfg", "layers"), 10**9, "the weights hold only"),
    (("model_cfg", "vision_cfg", "width"), 10**7, "must fit the architecture|cannot be built"),
    (("model_cfg", "text_cfg", "context_length"), "16", "must be a whole number of tokens"),
    (("model_cfg", "text_cfg", "hf_model_name"), 7, "hf_model_name in .* must be a text"),
    (("model_cfg", "text_cfg", "of_the_year_2030"), 1, "pip install --upgrade open_clip_torch"),
]


@pytest.mark.parametrize(("place", "value", "says"), CONFIGS)
def test_a_configuration_that_cannot_be_is_refused(place, value, says, copy):
    folder = copy("vit")
    edit(folder, *place, value=value)
    with pytest.raises(ValueError, match=says):
        load(f"local-dir:{folder}", device="cpu")


HF_CONFIGS = [
    (("vision_config",), [1], "vision_config of config.json must be a dictionary"),
    (("vision_config", "patch_size"), 0, "must hold a positive number as patch_size"),
    (("text_config", "hidden_size"), "32", "must hold a positive number as hidden_size"),
    (("text_config", "num_attention_heads"), 2.5, "must hold a positive number as num_attention_heads"),
    (("projection_dim",), None, "cannot be built by open_clip|must fit the architecture"),
]


@pytest.mark.parametrize(("place", "value", "says"), HF_CONFIGS)
def test_a_configuration_of_transformers_that_cannot_be_is_refused(place, value, says, copy):
    folder = copy("hf")
    edit(folder, *place, value=value, name="config.json")
    with pytest.raises(ValueError, match=says):
        load(f"local-dir:{folder}", device="cpu")


def test_json_that_is_nested_too_deep_is_refused(copy):
    folder = copy("vit")
    (folder / "open_clip_config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"not readable as JSON .*nested more than 64 deep.*Copy the file again"):
        load(f"local-dir:{folder}", device="cpu")


def test_a_bin_file_of_numbers_that_pretend_to_be_many_is_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(ValueError, match=r"holds no table of tensors: a is none that is stored in full"):
        read_weights(path)
