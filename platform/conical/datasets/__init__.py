"""Datasets: cards, readers, and the checks that every dataset passes."""

from conical.datasets.addresses import confined_path
from conical.datasets.annotations import Annotations, PublishedList, hash_ids
from conical.datasets.assembling import check_records, missing_sentence
from conical.datasets.cards import DATASETS, DatasetCard, load, read_dataset
from conical.datasets.checks.audit import audit_records, count_findings, leak_free_ids
from conical.datasets.checks.frame_hash import FrameSignatures, frame_signatures
from conical.datasets.checks.near_duplicates import SignedVideo, find_near_duplicates
from conical.datasets.readers.manifest_file import read_manifest_file
from conical.datasets.validation import hold_out

__all__ = [
    "DATASETS",
    "Annotations",
    "DatasetCard",
    "FrameSignatures",
    "PublishedList",
    "SignedVideo",
    "audit_records",
    "check_records",
    "confined_path",
    "count_findings",
    "find_near_duplicates",
    "frame_signatures",
    "hash_ids",
    "hold_out",
    "leak_free_ids",
    "load",
    "missing_sentence",
    "read_dataset",
    "read_manifest_file",
]
