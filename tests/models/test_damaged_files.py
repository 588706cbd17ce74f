from __future__ import annotations

import pickle

import make_models
import pytest
import torch
from safetensors.torch import load_file, save_file

from medadv.models import load


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


@pytest.mark.parametrize("cut", [0, 300, -1000])
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
