"""A run's folder: its record, its best encoder, its evaluations.

    <experiment>/runs/<key>/run.json            what it is and where it stands
    <experiment>/runs/<key>/config.toml         the complete settings
    <experiment>/runs/<key>/encoder.safetensors best encoder on val
    <experiment>/runs/<key>/curve.json          one row an epoch
    <experiment>/runs/<key>/evaluation/<split>-<protocol>.{json,npz}

The key is the hash of all that determines the result: settings, data, weights, code. So the same settings find the same
folder again, and a run that is finished is not run twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path, write_text_atomic
from conical.core.errors import StoreError

STATUSES = ("running", "finished", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What `run.json` holds.

    Args:
        key: name of the folder.
        label: what tables call the run.
        status: one of `STATUSES`; `stopped` is a trial ended early by the scheduler.
        seed: of the run.
        tracking_id: its MLflow run.
        config: the settings, plain values.
        data_hashes: manifest, frames, captions, weights, code.
        environment: versions, commit, device, host facts.
        best_epoch: 1-based; 0: the model as loaded.
        val_value: best value of the selection metric, percent; None before the first epoch.
        seconds: wall time so far.
        test_looks: times the test split was scored.
    """

    key: str
    label: str
    status: str
    seed: int
    tracking_id: str
    config: dict[str, Any]
    data_hashes: dict[str, str]
    environment: dict[str, str]
    best_epoch: int = 0
    val_value: float | None = None
    seconds: float = 0.0
    test_looks: int = 0

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One scored split, as stored: enough for tables, paired tests and the error browser.

    Args:
        split: which split.
        protocol: what query and gallery were made of.
        metrics: `t2v/R1` and the like, each with value, low and high.
        num_queries: texts.
        num_gallery: videos.
        has_ties: whether the tie rule matters.
        ranks_t2v: (text,) 1-based.
        ranks_v2t: (video,) 1-based.
        similarity: float32, (text, video).
        video_ids: names of the columns.
        texts: the queries.
        text_video: (text,) column of each query's video.
    """

    split: str
    protocol: str
    metrics: dict[str, dict[str, float]]
    num_queries: int
    num_gallery: int
    has_ties: bool
    ranks_t2v: NDArray[np.float64] = field(repr=False)
    ranks_v2t: NDArray[np.float64] = field(repr=False)
    similarity: NDArray[np.float32] = field(repr=False)
    video_ids: tuple[str, ...] = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    text_video: NDArray[np.int64] = field(repr=False)


_ARRAYS = ("ranks_t2v", "ranks_v2t", "similarity", "text_video")


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run's folder.

    Args:
        path: the folder; made when first written.
    """

    path: Path

    @property
    def encoder(self) -> Path:
        """The best encoder's weights."""
        return self.path / "encoder.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a record was written."""
        return (self.path / "run.json").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run ended well and its encoder is there."""
        return self.exists and self.encoder.is_file() and self.read().status in ("finished", "stopped")

    def read(self) -> RunRecord:
        """The record.

        Raises:
            StoreError: absent or not readable.
        """
        path = self.path / "run.json"
        try:
            return RunRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"run record {path} cannot be read ({error}): delete the folder and run again") from error

    def write(self, record: RunRecord) -> None:
        """Replace the record, whole or not at all."""
        write_text_atomic(self.path / "run.json", json.dumps(asdict(record), indent=1))

    def read_curve(self) -> list[dict[str, float]]:
        """One row an epoch, oldest first; empty if none was written."""
        path = self.path / "curve.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def write_curve(self, rows: list[dict[str, float]]) -> None:
        """Replace the curve."""
        write_text_atomic(self.path / "curve.json", json.dumps(rows))

    def evaluation_path(self, split: str, protocol: str) -> Path:
        """The JSON half of an evaluation."""
        return self.path / "evaluation" / f"{split}-{protocol}.json"

    def write_evaluation(self, record: EvaluationRecord) -> None:
        """Write arrays, then the JSON that says they are whole."""
        path = self.evaluation_path(record.split, record.protocol)
        with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: getattr(record, name) for name in _ARRAYS})
        names = ("split", "protocol", "metrics", "num_queries", "num_gallery", "has_ties", "video_ids", "texts")
        plain = {name: getattr(record, name) for name in names}
        write_text_atomic(path, json.dumps(plain, ensure_ascii=False, indent=1))

    def read_evaluation(self, split: str, protocol: str) -> EvaluationRecord | None:
        """An evaluation, or None if this split was not scored."""
        path = self.evaluation_path(split, protocol)
        if not path.is_file():
            return None
        plain = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in _ARRAYS}
        plain["video_ids"], plain["texts"] = tuple(plain["video_ids"]), tuple(plain["texts"])
        return EvaluationRecord(**plain, **loaded)


def list_runs(experiment: Path) -> list[RunFolder]:
    """All runs of an experiment's folder, by key."""
    return [RunFolder(path.parent) for path in sorted(experiment.glob("runs/*/run.json"))]
