"""What an audit left beside a manifest: its findings, and the test videos that nothing ties to another split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from conical.core.errors import StoreError
from conical.core.findings import Finding
from conical.core.hashing import stable_hash
from conical.store.parts import read_table, write_table

_FINDINGS, _LEAK_FREE = "findings.parquet", "leak-free.parquet"
_TEXTS = ("kind", "split_a", "video_a", "split_b", "video_b", "detail")
_FINDINGS_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("value", pa.float64())])
_FACTS_KEY = b"conical"


@dataclass(frozen=True, kw_only=True)
class LeakFree:
    """The test videos that share nothing with train or val.

    Args:
        video_ids: their ids, sorted.
        num_test: videos of the whole test split.
        rules: what was asked of each video, in words; what could not be checked is not among them.
        manifest_hash: content address of the manifest that was audited.
        ids_hash: content address of `video_ids`; computed.
    """

    video_ids: tuple[str, ...] = field(repr=False)
    num_test: int
    rules: tuple[str, ...]
    manifest_hash: str
    ids_hash: str = field(init=False)

    def __post_init__(self) -> None:
        assert list(self.video_ids) == sorted(set(self.video_ids)), "ids must be sorted and unique"
        assert len(self.video_ids) <= self.num_test, (len(self.video_ids), self.num_test)
        object.__setattr__(self, "ids_hash", stable_hash(list(self.video_ids)))


def write_findings(folder: str | Path, findings: Sequence[Finding]) -> Path:
    """Replace the findings of an audit.

    Args:
        folder: the dataset's `audit` folder.
        findings: in the order that is kept.

    Returns:
        The file.

    Raises:
        StoreError: it cannot be written.
    """
    path = Path(folder) / _FINDINGS
    write_table(path, pa.Table.from_pylist([asdict(finding) for finding in findings], schema=_FINDINGS_SCHEMA))
    return path


def read_findings(folder: str | Path) -> list[Finding]:
    """The findings of the last audit.

    Raises:
        StoreError: there was none, or the file is damaged.
    """
    path = _existing(Path(folder) / _FINDINGS)
    return [Finding(**row) for row in read_table(path, columns=_FINDINGS_SCHEMA.names).to_pylist()]


def write_leak_free(folder: str | Path, leak_free: LeakFree) -> Path:
    """Replace the leak-free list of an audit.

    Args:
        folder: the dataset's `audit` folder.
        leak_free: the list and how it was made.

    Returns:
        The file.

    Raises:
        StoreError: it cannot be written.
    """
    facts = asdict(leak_free)
    ids = list(facts.pop("video_ids"))
    schema = pa.schema([("video_id", pa.string())], metadata={_FACTS_KEY: json.dumps(facts)})
    path = Path(folder) / _LEAK_FREE
    write_table(path, pa.table({"video_id": ids}, schema=schema))
    return path


def read_leak_free(folder: str | Path) -> LeakFree:
    """The test videos that the last audit found free of leaks.

    Args:
        folder: the dataset's `audit` folder.

    Raises:
        StoreError: there was no audit, or the file is damaged.
    """
    path = _existing(Path(folder) / _LEAK_FREE)
    table = read_table(path, columns=("video_id",))
    try:
        facts = json.loads((table.schema.metadata or {}).get(_FACTS_KEY, b"{}"))
        if not facts:
            raise ValueError("it does not say how it was made")
        ids_hash = facts.pop("ids_hash")
        ids = tuple(table.column("video_id").to_pylist())
        if ids_hash != stable_hash(list(ids)):
            raise ValueError(f"its ids have another hash than {ids_hash}")
        return LeakFree(video_ids=ids, **facts | {"rules": tuple(facts["rules"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no leak-free list ({error}): run conical data audit again") from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StoreError(f"there is no {path}: run conical data audit first")
    return path
