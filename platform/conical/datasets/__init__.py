"""Datasets: cards, readers, and the checks that every dataset passes."""

from conical.datasets.addresses import confined_path
from conical.datasets.cards import DATASETS, DatasetCard, check_records, load
from conical.datasets.manifest import read_manifest_file

__all__ = ["DATASETS", "DatasetCard", "check_records", "confined_path", "load", "read_manifest_file"]
