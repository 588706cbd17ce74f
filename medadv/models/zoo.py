"""The models this package knows by name, one card for each, and how a name becomes a model: where it comes from, what
it is, who may use it for what, and how its files are fetched from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medadv._registry import Registry
from medadv.models._files import WEIGHTS
from medadv.models._text import TOKENIZER_FILES

if TYPE_CHECKING:
    from medadv.models.vlm import VLM

__all__ = ["CARDS", "Card", "from_name", "names"]

_SMALL = ("open_clip_config.json", "config.json", "preprocessor_config.json", *TOKENIZER_FILES)


def names(pattern: str = "*") -> list[str]:
    """Return the names of the known models.

    Shapes   none.
    Units    none.
    Returns  names that match a shell pattern, in the order of the table.
    Raises   nothing.
    Source   ours.
    """
    return CARDS.names(pattern)


def from_name(name: str) -> VLM:
    """Read a model by its name in the table, "hf-hub:org/repo" or "local-dir:FOLDER", on the CPU.

    Shapes   none.
    Units    none.
    Returns  a VLM in evaluation mode.
    Raises   ValueError for an unknown name (the nearest are offered) or a model that needs its own package;
             FileNotFoundError or OSError for files that are missing or cannot be fetched.
    Source   ours.
    """
    from medadv.models._folder import from_folder

    kind, _, rest = name.partition(":")
    if kind == "local-dir" and rest:
        return from_folder(rest)
    if kind == "hf-hub" and rest:
        return from_folder(_fetch_model(rest), fetch=_fetch_text)
    if name not in CARDS and ("/" in name or ":" in name):
        raise ValueError(
            "The 'name' parameter of load must be a name in medadv.models.names(), hf-hub:org/repo or "
            f"local-dir:FOLDER; got {name!r}. Write hf-hub:{rest or name} or local-dir:{rest or name}."
        )
    card = CARDS.get(name)
    if card.loader == "tiny":
        from medadv.models.tiny import load_tiny

        return load_tiny()
    if card.loader == "own":
        raise ValueError(f"The model {name} does not load through open_clip or transformers. {card.note}")
    more = {"weights": card.weights} if card.weights else {}
    return from_folder(
        _fetch_model(card.source.removeprefix("hf-hub:"), **more), config=card.config, fetch=_fetch_text, **more
    )


@dataclass(frozen=True)
class Card:
    """Facts about one model. `unchecked` names the fields that nobody has checked again."""

    name: str
    source: str
    """hf-hub:org/repo, package, or an address for the models that need their own code."""
    architecture: str
    params_M: float | None
    """Millions of parameters, both towers; None where we do not know."""
    image_size: int
    context: int
    """Tokens, start and end included."""
    domain: str
    licence: str
    paper: str
    loader: str = "hub"
    """tiny, hub, or own (needs a package of its own; `note` says how)."""
    gated: bool = False
    note: str = ""
    unchecked: tuple[str, ...] = ()
    config: dict[str, Any] | None = field(default=None, repr=False)
    """Stands in for an open_clip_config.json that the publisher did not write."""
    weights: tuple[str, ...] = ()
    """Names of the weight file where they are not the usual ones."""


CARDS: Registry[Card] = Registry("model")


def _fetch_model(repo: str, *, weights: tuple[str, ...] = WEIGHTS) -> Path:
    """Fetch configuration, tokenizer and the best weight file of a model; a cached copy serves when offline.

    Shapes   none.
    Units    none.
    Returns  the folder in the cache of huggingface_hub.
    Raises   OSError that names the files needed and the offline way.
    Source   huggingface_hub.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        there = set(HfApi().list_repo_files(repo))
        best = [one for one in weights if one in there][:1]
        return Path(snapshot_download(repo, allow_patterns=[*best, *(one for one in _SMALL if one in there)]))
    except Exception as online:  # requests, urllib3 and huggingface_hub raise many kinds
        try:
            return Path(snapshot_download(repo, local_files_only=True))
        except Exception:
            kinds = ", ".join(weights[:5:4])  # one of open_clip, one of transformers
            raise OSError(
                f"Could not fetch {repo} from the Hugging Face hub ({_why(online)}). Put its configuration "
                "(open_clip_config.json, or config.json and preprocessor_config.json), its weights "
                f"({kinds}) and tokenizer files into a folder and load 'local-dir:FOLDER', "
                "which works offline."
            ) from online


def _fetch_text(repo: str) -> Path:
    """Fetch the configuration and the tokenizer of a text tower, never its weights.

    Shapes   none.
    Units    none.
    Returns  the folder in the cache of huggingface_hub.
    Raises   OSError that names the files needed and the offline way.
    Source   huggingface_hub.
    """
    from huggingface_hub import snapshot_download

    for offline in (True, False):
        try:
            found = Path(snapshot_download(repo, allow_patterns=list(_SMALL), local_files_only=offline))
        except Exception as error:
            reason = error
        else:
            if (found / "config.json").is_file():
                return found
            reason = FileNotFoundError("config.json")
    raise OSError(
        f"Could not fetch the text tower's files of {repo} from the Hugging Face hub ({_why(reason)}). "
        "Put its config.json and tokenizer files beside the model's weights and load 'local-dir:FOLDER', "
        "which works offline."
    ) from reason


def _why(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return "access must be granted on its page first; then log in with `hf auth login`"
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return "there is no such repository, or it is private"
    return f"no connection, or a file is missing there: {type(error).__name__}"


def _card(
    name: str,
    source: str,
    architecture: str,
    facts: tuple,
    domain: str,
    licence: str,
    paper: str,
    **more: Any,
) -> None:
    params, size, context = facts
    CARDS.register(name, Card(name, source, architecture, params, size, context, domain, licence, paper, **more))


# What UniMed-CLIP's fork of open_clip builds from its arguments (text_encoder_name=, force_quick_gelu=True).
_BERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
_UNIMED = {
    "model_cfg": {
        "embed_dim": 512,
        "quick_gelu": True,
        "custom_text": True,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": _BERT,
            "hf_tokenizer_name": _BERT,
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    }
}
_B32, _B16, _L14 = "ViT-B/32 + text transformer", "ViT-B/16 + text transformer", "ViT-L/14 + text transformer"
_CLIP = "arXiv 2103.00020"
_WRAP = "give VLM an object with its visual, encode_image, encode_text and logit_scale."

# fmt: off
_card("tiny", "package", "ViT patch 8, width 128 + text transformer", (1.4, 64, 48), "phantoms (synthetic)",
      "as this package", "", loader="tiny", note="Ships with the package; trained on medadv.data.phantoms.")
_card("biomedclip", "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
      "ViT-B/16 (timm) + PubMedBERT", (196, 224, 256), "biomedical figures (PMC-15M)", "MIT",
      "arXiv 2303.00915")
_card("plip", "hf-hub:vinid/plip", _B32, (151, 224, 77), "histopathology (OpenPath)",
      "not stated on its card", "Huang et al. 2023, Nature Medicine", unchecked=("licence",))
_card("quiltnet-b-32", "hf-hub:wisdomik/QuiltNet-B-32", _B32, (151, 224, 77), "histopathology (Quilt-1M)",
      "MIT; training videos for research use", "arXiv 2306.11207")
_card("pubmedclip", "hf-hub:flaviagiammarino/pubmed-clip-vit-base-patch32", _B32, (151, 224, 77),
      "radiology (ROCO)", "MIT", "arXiv 2112.13906", unchecked=("licence",))
_card("unimed-clip-b-16", "hf-hub:UzairK/unimed-clip-vit-b16", "ViT-B/16 + BiomedBERT", (196, 224, 256),
      "six modalities (UniMed)", "CC BY-NC 4.0", "arXiv 2412.10372", unchecked=("params_M",),
      config=_UNIMED, weights=("unimed_clip_vit_b16.pt",),
      note="Published for a fork of open_clip; read here through open_clip itself.")
_card("monet", "hf-hub:suinleelab/monet", _L14, (428, 224, 77), "dermatology (105k pairs)", "see its card",
      "Kim et al. 2024, Nature Medicine", unchecked=("licence",))
_card("clip-b-32", "hf-hub:timm/vit_base_patch32_clip_224.openai", _B32, (151, 224, 77), "natural images",
      "MIT", _CLIP, unchecked=("licence",))
_card("clip-b-16", "hf-hub:timm/vit_base_patch16_clip_224.openai", _B16, (150, 224, 77), "natural images",
      "MIT", _CLIP, unchecked=("licence",))
_card("medpmc-clip", "hf-hub:Yale-BIDS-Chen/medpmc-clip-l-14_jun24_v1", _L14, (428, 224, 77),
      "medical figures (PMC)", "see its card", "", unchecked=("licence", "params_M"))
_card("dermlip", "hf-hub:redlessone/DermLIP_ViT-B-16", _B16, (150, 224, 77), "dermatology (Derm1M)",
      "CC BY-NC 4.0", "arXiv 2503.14911", unchecked=("licence", "context"))
_card("bmc-clip", "hf-hub:BIOMEDICA/BMC-CLIP_CF", _L14, (428, 224, 77), "biomedical figures (BIOMEDICA)",
      "MIT", "arXiv 2501.07171", unchecked=("source", "licence", "params_M"))
_card("pmc-vit-l-14", "hf-hub:ryanyip7777/pmc_vit_l_14", _L14, (428, 224, 77), "biomedical figures (PMC-OA)",
      "see its card", "arXiv 2303.07240",
      unchecked=("source", "licence", "params_M", "image_size", "context"))
_card("conch", "hf-hub:MahmoodLab/conch", "CoCa ViT-B/16", (None, 448, 128), "histopathology",
      "CC BY-NC-ND 4.0", "arXiv 2307.12914", loader="own", gated=True,
      unchecked=("licence", "image_size", "context", "gated"),
      note="Ask for access on its page, install its package (github.com/mahmoodlab/CONCH) and " + _WRAP)
_card("medclip", "https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip",
      "Swin-T + Bio_ClinicalBERT", (None, 224, 77), "chest radiographs",
      "MIT code; trained on MIMIC-CXR and CheXpert", "arXiv 2210.10163", loader="own",
      unchecked=("licence", "context"),
      note="Install its package (pip install medclip; mean 0.5863, std 0.2795) and " + _WRAP)
_card("flair", "https://github.com/jusiro/FLAIR", "ResNet-50 + Bio_ClinicalBERT", (None, 512, 77),
      "fundus photographs", "research", "arXiv 2308.07898", loader="own",
      unchecked=("licence", "image_size", "context", "architecture"),
      note="Install its package (github.com/jusiro/FLAIR; mean 0, std 1) and " + _WRAP)
# fmt: on
