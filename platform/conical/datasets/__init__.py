"""Datasets: cards, readers, and the checks that every dataset passes."""

from conical.datasets.addresses import confined_path
from conical.datasets.annotations import Annotations, PublishedList, hash_ids
from conical.datasets.cards import DATASETS, DatasetCard, load, read_dataset
from conical.datasets.importing import check_records, missing_sentence
from conical.datasets.manifest import read_manifest_file
from conical.datasets.validation import hold_out

__all__ = [
    "DATASETS",
    "Annotations",
    "DatasetCard",
    "PublishedList",
    "check_records",
    "confined_path",
    "hash_ids",
    "hold_out",
    "load",
    "missing_sentence",
    "read_dataset",
    "read_manifest_file",
]
