"""Train the tiny Med-VLM on phantoms and write its weights, vocabulary and provenance.

    python data_scripts/train_tiny.py                  # the shipped weights: 15 to 20 minutes on two cores
    python data_scripts/train_tiny.py --steps 60 --images 2000 --out /tmp/try   # a trial

Three stages, each of which goes on where a killed run left off: make the phantoms (files of 1,000), learn the byte-pair
vocabulary from their captions, train contrastively. The caption of an image is drawn anew each time, so the model
sees it under several descriptions.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from tqdm.auto import tqdm

from medadv._atomic import whole_file, write_bytes, write_text
from medadv._lock import locked
from medadv._provenance import provenance
from medadv.data import load as load_data
from medadv.data.phantoms import phantoms
from medadv.data.tidy import cache
from medadv.models import ZeroShot, tiny
from medadv.models.vlm import VLM
from medadv.train.loop import fit
from medadv.train.pretrain import contrastive
from medadv.types import Batch

CHUNK = 1000
SEED = 0


def main() -> None:
    """Read the command line and run the three stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=tiny.FOLDER, help="folder for weights, vocabulary and provenance")
    parser.add_argument("--work", type=Path, default=Path("runs/tiny"), help="folder for phantoms and checkpoint")
    parser.add_argument("--images", type=int, default=40_000, help="training phantoms (a multiple of 1,000)")
    parser.add_argument("--steps", type=int, default=1_800)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--workers", type=int, default=2, help="processes that make phantoms")
    options = parser.parse_args()
    if options.images < CHUNK or options.images % CHUNK:
        parser.error(f"--images must be a multiple of {CHUNK}; got {options.images}.")
    try:
        with locked(options.work / "run.json"):
            check_work(options)
            make(options)
    except ValueError as error:
        parser.error(str(error))


def check_work(options: argparse.Namespace) -> None:
    """Note what the checkpoint in the work folder is of; refuse it if it belongs to another run."""
    names = ("images", "steps", "batch_size", "lr", "weight_decay", "dtype")
    facts, file = {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}, options.work / "run.json"
    if not (options.work / "checkpoint.pt").exists():
        write_text(file, json.dumps(facts, indent=1) + "\n")
        return
    try:
        begun = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        begun = dict.fromkeys(facts, "(not noted)")
    for option, value in facts.items():
        if begun.get(option) != value:
            raise ValueError(
                f"The --work folder {options.work} holds a run with {option} {begun.get(option)}; this one has "
                f"{option} {value}. Name another folder, or delete {options.work / 'checkpoint.pt'} to train anew."
            )


def make(options: argparse.Namespace) -> None:
    """Make the phantoms, learn the vocabulary, train, and write what came of it."""
    begun = time.perf_counter()
    images, captions = phantom_files(options.images, options.work / "phantoms", workers=options.workers)
    made = time.perf_counter()
    write_vocabulary(captions, options.out / tiny.VOCABULARY)
    vlm = tiny.new_tiny(seed=SEED, folder=options.out)
    history = fit(
        vlm,
        partial(draw, images, captions, options.batch_size),
        contrastive,
        steps=options.steps,
        lr=options.lr,
        weight_decay=options.weight_decay,
        seed=SEED,
        device=options.device,
        dtype=options.dtype,
        checkpoint=options.work / "checkpoint.pt",
        every=50,
    )
    seconds = {"phantoms": round(made - begun), "training": round(time.perf_counter() - made)}
    save(vlm.cpu().eval(), options, history, seconds)


def phantom_files(n: int, folder: Path, *, workers: int) -> tuple[list[np.ndarray], list[list[str]]]:
    """Make the training phantoms in files of 1,000, those that are not there yet, and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, n, CHUNK)
    missing = [start for start in starts if not _chunk(folder, start).exists()]
    # spawn: torch's threads do not survive a fork
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        list(tqdm(pool.map(partial(_make_chunk, folder), missing), total=len(missing), desc="phantoms x 1000"))
    images, captions = [], []
    for start in starts:
        with np.load(_chunk(folder, start), allow_pickle=False) as chunk:
            images.append(chunk["image"])
            captions += json.loads(bytes(chunk["captions"]).decode())
    return images, captions


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.npz"


def _make_chunk(folder: Path, start: int) -> None:
    pairs = phantoms(CHUNK, seed=SEED, start=start)
    pixels = np.stack([(pairs.load(i)[0].numpy() * 255).round().astype(np.uint8) for i in range(CHUNK)])
    words = np.frombuffer(json.dumps([row.captions for row in pairs.rows]).encode(), dtype=np.uint8)
    with whole_file(_chunk(folder, start)) as part, part.open("wb") as file:
        np.savez(file, image=pixels, captions=words)


def draw(images: list[np.ndarray], captions: list[list[str]], size: int, k: int) -> Batch:
    """Return batch k, drawn at random by (seed, k) alone, each image under one of its captions."""
    rng = np.random.default_rng((SEED, k))
    rows = rng.choice(len(captions), min(size, len(captions)), replace=False)
    pixels = np.stack([images[row // CHUNK][row % CHUNK] for row in rows])
    return Batch(
        image=torch.from_numpy(pixels).float().div(255),
        index=torch.from_numpy(rows.astype(np.int64)),
        text=[captions[row][int(rng.integers(len(captions[row])))] for row in rows],
    )


def write_vocabulary(captions: list[list[str]], path: Path) -> None:
    """Learn byte-pair merges from the captions and write them in the format of open_clip's tokenizer."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    trainer = trainers.BpeTrainer(vocab_size=4000, end_of_word_suffix="</w>", show_progress=False, min_frequency=20)
    learner.train_from_iterator((text for many in captions for text in many), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    # open_clip adds 256 bytes, the same at the end of a word, and two marks of its own.
    keep = tiny.CONFIG["model_cfg"]["text_cfg"]["vocab_size"] - 2 * 256 - 2
    lines = ["#version: 0.2", *(" ".join(m) if isinstance(m, list) else m for m in merges[:keep])]
    # Merges that no caption needs fill the table up, so that its size does not hang on the captions.
    lines += [f"\u0100{k} \u0100{k}" for k in range(keep + 1 - len(lines))]
    write_bytes(path, gzip.compress("\n".join(lines).encode(), mtime=0))


def held_out(vlm: VLM, n: int = 1000) -> dict[str, float]:
    """Score the model on phantoms that it never saw, clean and under Gaussian noise."""
    pairs = cache(load_data("phantoms", n=n))
    image, label = pairs.batch(range(n)).image, pairs.labels
    head = ZeroShot.from_prompts(vlm, pairs.prompts)
    found: dict[str, float] = {"phantoms": n}
    for sigma in (0.0, 0.1, 0.25):
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(SEED))
        with torch.no_grad():
            seen = torch.cat([head(part.clamp(0, 1)).argmax(1) for part in (image + sigma * noise).split(128)])
        found[f"zero_shot_top1_sigma_{sigma:g}"] = round(float((seen == label).float().mean()), 4)
    return found


def save(vlm: VLM, options: argparse.Namespace, history, seconds: dict[str, int]) -> None:
    """Write weights, configuration and provenance; the provenance file last, since it vouches for the others."""
    weights = to_safetensors({k: v.contiguous() for k, v in vlm.model.state_dict().items()}, {"format": "pt"})
    write_bytes(options.out / tiny.WEIGHTS, weights)
    write_text(options.out / "open_clip_config.json", json.dumps(tiny.CONFIG, indent=2) + "\n")
    about = {
        **provenance(
            command=" ".join(["python data_scripts/train_tiny.py", *sys.argv[1:]]), seed=SEED, device=options.device
        ),
        "data": {
            "phantoms": options.images,
            "seed": SEED,
            "size": 64,
            "controls": "default",
            "captions": "drawn anew each time",
        },
        "training": {k: getattr(options, k) for k in ("steps", "batch_size", "lr", "weight_decay", "dtype")},
        "seconds": seconds,
        "held_out": held_out(vlm),
        "final": {name: round(history.last(name), 4) for name in history.values},
        "parameters": sum(p.numel() for p in vlm.model.parameters()),
        "sha256": sha256(weights).hexdigest(),
    }
    write_text(options.out / "provenance.json", json.dumps(about, indent=2) + "\n")
    print(f"wrote {options.out} ({len(weights) / 1e6:.1f} MB, sha256 {about['sha256'][:12]}...)")


if __name__ == "__main__":
    main()
