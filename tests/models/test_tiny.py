"""The shipped Med-VLM: what it is, where it comes from, and what it can do when measured again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
import torch
from open_clip import SimpleTokenizer

import medadv
from medadv.data import load as load_data
from medadv.models import ZeroShot, load
from medadv.models.tiny import CONFIG, FOLDER, VOCABULARY, WEIGHTS, load_tiny, new_tiny, provenance, tokenizer


@pytest.fixture(scope="module")
def vlm():
    return load("tiny", device="cpu")


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "tiny")


def test_architecture(vlm):
    assert (vlm.name, vlm.image_size, vlm.context_length) == (
        "tiny",
        64,
        CONFIG["model_cfg"]["text_cfg"]["context_length"],
    )
    assert not vlm.training
    assert sum(p.numel() for p in vlm.parameters()) == provenance()["parameters"] < 3_000_000
    image = torch.rand(2, 3, 64, 64)
    embedding, text = vlm.encode_image(image), vlm.encode_text(["a normal chest radiograph", "a polyp"])
    assert embedding.shape == text.shape == (2, 128)
    for out in (embedding, text):
        torch.testing.assert_close(out.norm(dim=1), torch.ones(2))
    assert 1 < float(vlm.scale.detach()) < 101
    assert vlm.encode_image(torch.rand(1, 3, 100, 80)).shape == (1, 128)


def test_features_inside_are_reachable_and_carry_gradient(vlm):
    image = torch.rand(1, 3, 64, 64).requires_grad_()
    maps = vlm.features(image)
    width = CONFIG["model_cfg"]["vision_cfg"]["width"]
    channels, sides = [width, 4 * width, 8 * width, 16 * width, 32 * width], [16, 16, 8, 4, 2]
    assert [tuple(one.shape) for one in maps] == [(1, c, s, s) for c, s in zip(channels, sides, strict=True)]
    (gradient,) = torch.autograd.grad(maps[1].square().mean(), image)
    assert (gradient != 0).any()
    assert torch.equal(vlm.features(image, layers=[3])[0], maps[3])
    assert all(p.grad is None for p in vlm.parameters())


def test_the_vocabulary_is_read_by_open_clips_own_tokenizer():
    words, length = tokenizer(), CONFIG["model_cfg"]["text_cfg"]["context_length"]
    assert isinstance(words, SimpleTokenizer)
    assert words.vocab_size == CONFIG["model_cfg"]["text_cfg"]["vocab_size"]
    for row in load_data("phantoms", n=150).rows:
        for caption in row.captions:
            ids = words.encode(caption)
            assert len(ids) <= length - 2, caption
            plain = re.sub(r"\W", "", caption.lower())
            assert re.sub(r"\W", "", words.decode(ids)) == plain
    tokens = words(["Two small lung nodules."])
    assert tokens.shape == (1, length)
    assert tokens[0, 0] == words.sot_token_id
    assert words.eot_token_id in tokens[0]
    assert len(words.encode("radiograph")) <= 2, "common words are whole"


def test_new_ones_are_random_by_their_seed_alone():
    state = torch.get_rng_state()
    first, again, other = new_tiny(seed=1), new_tiny(seed=1), new_tiny(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c = (one.model.visual.conv1.weight for one in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert float(first.scale.detach()) == pytest.approx(1 / 0.07, rel=1e-4)


def test_provenance_is_complete_and_the_weights_are_those_it_names():
    about, weights = provenance(), FOLDER / WEIGHTS
    assert about["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size <= 12_000_000
    assert about["command"].startswith("python data_scripts/train_tiny.py")
    assert {"command", "seed", "versions", "date", "device", "data", "training", "seconds", "final"} <= set(about)
    assert about["versions"]["torch"]
    assert about["data"]["phantoms"] >= 10_000
    assert sum(about["seconds"].values()) > 0
    assert json.loads((FOLDER / "open_clip_config.json").read_text()) == CONFIG
    assert medadv.load is load


def test_tampered_weights_are_refused(copy):
    weights = copy / WEIGHTS
    whole = bytearray(weights.read_bytes())
    whole[-3] ^= 1
    weights.write_bytes(whole)
    with pytest.raises(ValueError, match=r"have sha256 .*the provenance file says .*Reinstall medadv"):
        load_tiny(copy)
    weights.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="Reinstall medadv"):
        load_tiny(copy)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"are missing. Reinstall medadv, or run data_scripts/train_tiny.py"):
        load_tiny(copy)


def test_a_missing_vocabulary_is_named(copy):
    (copy / VOCABULARY).unlink()
    with pytest.raises(FileNotFoundError, match=r"The vocabulary .* is missing"):
        load_tiny(copy)


def test_the_folder_is_a_local_dir_like_any_other(vlm):
    image, text = torch.rand(2, 3, 64, 64), ["a fundus photograph with glaucoma"]
    same = load(f"local-dir:{FOLDER}", device="cpu")
    torch.testing.assert_close(same.encode_image(image), vlm.encode_image(image))
    assert same.image_size == 64
    assert same.encode_text(text).shape == (1, 128)


def test_it_reads_phantoms_it_has_never_seen_and_noise_hurts_it(vlm):
    pairs = load_data("phantoms", n=400)
    head = ZeroShot.from_prompts(vlm, pairs.prompts)
    stream, right = torch.Generator().manual_seed(0), dict.fromkeys((0.0, 0.1, 0.25), 0)
    with torch.no_grad():
        for batch in pairs.batches(100):
            for sigma in right:
                noise = sigma * torch.randn(batch.image.shape, generator=stream)
                logits = head((batch.image + noise).clamp(0, 1))
                right[sigma] += int((logits.argmax(1) == batch.label).sum())
    share = {sigma: count / 400 for sigma, count in right.items()}
    assert share[0.0] >= 0.80, share
    assert share[0.25] < share[0.1] < share[0.0] - 0.05, share


def test_small_gradient_steps_fool_it(vlm):
    pairs = load_data("phantoms", n=64)
    head, batch = ZeroShot.from_prompts(vlm, pairs.prompts), pairs.batch(range(64))
    threat, image = medadv.Threat.parse("linf:2/255"), batch.image
    want = medadv.objective.classify(head, batch.label)
    for _ in range(5):
        image = image.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(want(image).loss.sum(), image)
        image = threat.project(image.detach() + threat.eps / 2 * threat.ascend(gradient), batch.image)
    with torch.no_grad():
        before, after = (1 - want(x).won.float().mean() for x in (batch.image, image))
    assert after < before - 0.3, (before, after)
