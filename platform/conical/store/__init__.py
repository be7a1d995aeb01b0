"""What is kept on disk: workspace, manifest, frames, supplements, runs. The only layer that knows Parquet."""

from conical.store.audits import LeakFree, read_findings, read_leak_free, write_findings, write_leak_free
from conical.store.captions import CaptionLedger
from conical.store.dataset_book import DatasetBook, read_dataset_book, write_dataset_book
from conical.store.evaluations import EvaluationRecord
from conical.store.frames.facts import FrameFacts, read_frame_facts
from conical.store.frames.origins import read_addresses, write_addresses
from conical.store.frames.schema import FrameRow
from conical.store.frames.store import FrameStore
from conical.store.manifest import manifest_hash, read_manifest, write_manifest
from conical.store.matrix_files import MatrixFile, read_matrix, read_positives
from conical.store.rankings import RankedQueries
from conical.store.runs import RunFolder, RunRecord, TestLook, list_runs
from conical.store.sweeps import Sweep, Trial, read_sweep, write_sweep
from conical.store.workspace import Workspace

__all__ = [
    "CaptionLedger",
    "DatasetBook",
    "EvaluationRecord",
    "FrameFacts",
    "FrameRow",
    "FrameStore",
    "LeakFree",
    "MatrixFile",
    "RankedQueries",
    "RunFolder",
    "RunRecord",
    "Sweep",
    "TestLook",
    "Trial",
    "Workspace",
    "list_runs",
    "manifest_hash",
    "read_addresses",
    "read_dataset_book",
    "read_findings",
    "read_frame_facts",
    "read_leak_free",
    "read_manifest",
    "read_matrix",
    "read_positives",
    "read_sweep",
    "write_addresses",
    "write_dataset_book",
    "write_findings",
    "write_leak_free",
    "write_manifest",
    "write_sweep",
]
