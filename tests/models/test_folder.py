from __future__ import annotations

import shutil

import make_models
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from medadv.models import load, save_folder
from medadv.models._text import bert_config

PIXELS = torch.rand(2, 3, 50, 41, generator=torch.Generator().manual_seed(0))


def test_bert_files_may_lie_in_a_folder_of_their_own(copy, folders):
    folder = copy("biomed")
    (folder / "Small-BERT").mkdir()
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "special_tokens_map.json",
    ):
        shutil.move(folder / name, folder / "Small-BERT" / name)
    make_models.same(load(f"local-dir:{folder}", device="cpu"), load(f"local-dir:{folders['biomed']}", device="cpu"))


def test_the_bert_of_biomedclip_is_known_by_heart(tmp_path):
    """The hub's folder of BiomedCLIP holds no config.json of its BERT; open_clip asks the network for it."""
    words = {"text.transformer.embeddings.word_embeddings.weight": torch.zeros(30522, 768)}
    name = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    config = bert_config(name, folder=tmp_path, state=words)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (30522, 768, 12)


def test_older_checkpoints(copy, folders):
    """The names of UniMed-CLIP's fork, a wrapped and prefixed state, position_ids, a scale of shape (1,)."""
    folder = copy("biomed")
    path = folder / "open_clip_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    state["text.transformer.embeddings.position_ids"] = torch.arange(512)[None]
    state["logit_scale"] = state["logit_scale"].reshape(1)
    state = {f"module.{key}".replace("module.text.", "module.text_encoder."): one for key, one in state.items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    make_models.same(load(f"local-dir:{folder}", device="cpu"), load(f"local-dir:{folders['biomed']}", device="cpu"))
    folder = copy("custom")
    state = load_file(folder / "open_clip_model.safetensors")
    save_file({key.removeprefix("text."): one for key, one in state.items()}, folder / "open_clip_model.safetensors")
    make_models.same(load(f"local-dir:{folder}", device="cpu"), load(f"local-dir:{folders['custom']}", device="cpu"))


@pytest.mark.parametrize("family", ["vit", "convnext", "biomed", "hf", "coca", "squash"])
def test_save_and_load_again(family, vlms, tmp_path):
    save_folder(vlms[family], folder=tmp_path / "new")
    again = load(f"local-dir:{tmp_path / 'new'}", device="cpu")
    make_models.same(again, vlms[family])
    assert again.preprocess == vlms[family].preprocess
    assert not [one for one in (tmp_path / "new").iterdir() if one.is_dir()]
    if family in ("vit", "hf"):  # open_clip itself reads it, too
        model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'new'}")
        with torch.no_grad():
            prepared = again._prepare(PIXELS)
            want = model.eval().encode_image(prepared, normalize=True)
            assert torch.allclose(again.encode_image(PIXELS), want, atol=1e-6)


def test_a_model_made_by_hand_cannot_be_saved(vit, tmp_path):
    from medadv.models import VLM

    with pytest.raises(ValueError, match="made by hand"):
        save_folder(VLM(vit.model, vit.tokenizer), folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_own_vocabulary_in_the_folder(copy):
    import gzip

    folder = copy("vit")
    with gzip.open(folder / "bpe_vocab.txt.gz", "wt") as file:
        file.write("#version\nl u\nlu n\nlun g</w>")
    vlm = load(f"local-dir:{folder}", device="cpu")
    assert vlm.tokenizer.vocab_size == 512 + 3 + 2
    assert (vlm.tokenize(["lung"]) != 0).sum() == 3
    again = load(f"local-dir:{save_folder(vlm, folder=folder / 'again')}", device="cpu")
    assert torch.equal(again.tokenize(["lung"]), vlm.tokenize(["lung"]))
