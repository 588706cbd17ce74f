"""One table of where real data come from: address, checksum, licence, citation, what was checked."""

from __future__ import annotations

from dataclasses import dataclass

from medadv._registry import nearest
from medadv.data.archive import extract
from medadv.data.fetch import fetch, verify

__all__ = ["SOURCES", "Source", "describe", "extract", "fetch", "phrases", "sources", "verify"]


@dataclass(frozen=True)
class Source:
    """One file of a data set, or the place where one asks for it."""

    name: str
    """The data set; several files share one name."""
    url: str
    file: str
    """File name to save under; empty where there is nothing to fetch by address."""
    licence: str
    citation: str
    size: int | None = None
    """Bytes, where known."""
    checksum: str | None = None
    """'md5:...' or 'sha256:...', where known."""
    checked: bool = False
    """True where address and licence were read in public; False where they are from general knowledge."""
    access: str = "open"
    """'open', or 'form' where one has to register, agree to terms or ask."""
    note: str = ""


_ISIC_PLACE = "https://isic-challenge-data.s3.amazonaws.com/2017/"
_ISIC_CITATION = (
    "N. Codella et al., Skin lesion analysis toward melanoma detection: a challenge at the 2017 ISBI, hosted "
    "by ISIC, "
    "ISBI 2018, arXiv 1710.05006"
)
_ISIC_FILES = {
    "ISIC-2017_Training_Data.zip": "train images and metadata, about 5.8 GB",
    "ISIC-2017_Training_Part1_GroundTruth.zip": "train masks",
    "ISIC-2017_Training_Part3_GroundTruth.csv": "train labels",
    "ISIC-2017_Validation_Data.zip": "validation images and metadata",
    "ISIC-2017_Validation_Part1_GroundTruth.zip": "validation masks",
    "ISIC-2017_Validation_Part3_GroundTruth.csv": "validation labels",
    "ISIC-2017_Test_v2_Data.zip": "test images, about 5.4 GB",
    "ISIC-2017_Test_v2_Part1_GroundTruth.zip": "test masks",
    "ISIC-2017_Test_v2_Part3_GroundTruth.csv": "test labels",
}

HANNOVER_COMMIT = "ad7ab099b425f16e06bba22322336b7d6a732965"

SOURCES: tuple[Source, ...] = (
    *(
        Source(
            "isic2017",
            _ISIC_PLACE + file,
            file,
            "CC0-1.0 as the challenge page lists it; the archive keeps licences per image",
            _ISIC_CITATION,
            note=note,
        )
        for file, note in _ISIC_FILES.items()
    ),
    Source(
        "hannover_cxr",
        f"https://github.com/ml-workgroup/covid-19-image-repository/archive/{HANNOVER_COMMIT}.zip",
        "covid-19-image-repository.zip",
        "CC BY 3.0",
        "H. B. Winther et al., COVID-19 Image Repository, 2020, doi:10.6084/m9.figshare.12275009",
        checked=True,
        note="243 radiographs, about 52 MB; the archive is packed anew, so its images are checked",
    ),
    Source(
        "kvasir_seg",
        "https://datasets.simula.no/downloads/kvasir-seg.zip",
        "kvasir-seg.zip",
        "research and education, cite the paper; the same images are CC BY 4.0 in HyperKvasir",
        "D. Jha et al., Kvasir-SEG: a segmented polyp dataset, MMM 2020, arXiv 1911.07069",
        note="1,000 images and masks, about 46 MB; page https://datasets.simula.no/kvasir-seg/",
    ),
    Source(
        "harvard_fairvlmed",
        "https://huggingface.co/datasets/harvardairobotics/FairVLMed",
        "",
        "CC BY-NC-ND 4.0, research only, not to be passed on",
        "Y. Luo et al., FairCLIP: harnessing fairness in vision-language learning, CVPR 2024, arXiv 2403.19949",
        checked=True,
        access="form",
        note="10,000 SLO fundus images as npz, notes, protected attributes; earlier on Google Drive",
    ),
    Source(
        "rsna_pneumonia",
        "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
        "",
        "competition rules; images from the NIH Clinical Center",
        "G. Shih et al., Augmenting the National Institutes of Health chest radiograph dataset with expert "
        "annotations "
        "of possible pneumonia, Radiology: Artificial Intelligence 2019",
        access="form",
        note="26,684 labelled DICOM files, about 3.7 GB; a Kaggle account is needed",
    ),
)

# Phrases for folders that have no classes.json of their own, found by the set of their labels.
_PHRASES: tuple[dict[str, str], ...] = (
    {
        "nevus": "a melanocytic nevus",
        "melanoma": "a melanoma",
        "seborrheic_keratosis": "a seborrheic keratosis",
    },
    {"not melanoma": "a benign skin lesion", "melanoma": "a melanoma"},
    {
        "non_icu": "a patient treated outside the intensive care unit",
        "icu": "a patient treated in the intensive care unit",
    },
    {"ap": "an anteroposterior projection", "pa": "a posteroanterior projection"},
    {"female": "a female patient", "male": "a male patient"},
    {
        "normal": "normal breast tissue without a tumour",
        "benign": "a benign breast tumour",
        "malignant": "a malignant breast tumour",
    },
)


def phrases(classes) -> tuple[str, ...]:
    """Return a phrase for each class name, to be put into zero-shot templates.

    Shapes   none.
    Units    none.
    Returns  the phrases of a known set where all class names are its own, else the names, spaces for
             underscores.
    Raises   nothing.
    Source   ours.
    """
    for known in _PHRASES:
        if set(known) == set(classes):
            return tuple(known[name] for name in classes)
    return tuple(str(name).replace("_", " ") for name in classes)


def sources(name: str) -> tuple[Source, ...]:
    """Return the files of one data set.

    Shapes   none.
    Units    size in bytes.
    Returns  one or more Source values, in the order in which they are fetched.
    Raises   ValueError for an unknown name, with the nearest ones.
    Source   ours.
    """
    found = tuple(source for source in SOURCES if source.name == name)
    if not found:
        known = sorted({source.name for source in SOURCES})
        near = ", ".join(nearest(name, known) or known)
        raise ValueError(
            f"The 'name' parameter of sources must be a known data set; got {name!r}. Did you mean {near}?"
        )
    return found


def describe(rows) -> str:
    """Put sources into lines a person can read: addresses, checksums, what is unchecked, licence, citation.

    Shapes   none.
    Units    size in bytes.
    Returns  text, as the scripts print it under --help and into SOURCE.md.
    Raises   nothing.
    Source   ours.
    """
    lines = []
    for row in rows:
        lines.append(f"address   {row.url}")
        if row.file:
            size = f"{row.size:,} bytes" if row.size else "size unknown"
            lines.append(f"  file      {row.file} ({size}); checksum {row.checksum or 'unknown, so not verified'}")
        if not row.checked:
            lines.append("  UNCHECKED address and licence are from general knowledge; look at the official page first")
        if row.note:
            lines.append(f"  note      {row.note}")
    for title, values in (
        ("licence", (row.licence for row in rows)),
        ("citation", (row.citation for row in rows)),
    ):
        lines.extend(f"{title:<9} {value}" for value in dict.fromkeys(values))
    return "\n".join(lines)
