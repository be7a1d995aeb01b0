"""Finished runs in a workspace with frames, their evaluations made from random similarities: no model, no training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from conical.config import Experiment, load_experiment
from conical.metrics import retrieval_metrics
from conical.store import EvaluationRecord, RunFolder, RunRecord, TestLook, Workspace
from ingested_stores import write_stores

SIZES = {"train": 4, "val": 8, "test": 12}
HUMAN = "mix={human=1.0, A=0.0, B=0.0}"


def experiment(*overrides: str) -> Experiment:
    return load_experiment(None, ["frames.num_frames=3", HUMAN, *overrides])


def write_workspace(root: Path) -> Workspace:
    workspace = Workspace.open(root)
    write_stores(experiment(), workspace, SIZES)
    return workspace


def evaluation(split: str, *, skill: float, seed: int = 0, protocol: str = "raw", **hashes: str) -> EvaluationRecord:
    """Two texts per video, as `write_stores` makes them; `skill` 0 is chance."""
    size = SIZES[split]
    owner = np.repeat(np.arange(size), 2)
    noise = np.random.default_rng(seed).normal(size=(2 * size, size))
    similarity = (noise + skill * np.eye(size)[owner]).astype(np.float32)
    found = retrieval_metrics(similarity, text_video=owner, num_resamples=20)
    return EvaluationRecord(
        split=split,
        protocol=protocol,
        metrics=found.by_name(),
        num_queries=len(owner),
        num_gallery=size,
        has_ties=False,
        ranks_t2v=found.t2v.ranks,
        ranks_v2t=found.v2t.ranks,
        similarity=similarity,
        video_ids=tuple(f"{split}{number}" for number in range(size)),
        texts=tuple(f"text {place} of {split}{number}" for number in range(size) for place in range(2)),
        text_video=owner,
        rankings={direction: metrics.ranking for direction, metrics in found.directions().items()},
        hashes={"queries": "q", "gallery": "g", **hashes},
    )


def write_run(
    workspace: Workspace,
    settings: Experiment,
    *records: EvaluationRecord,
    key: str,
    val: float | None = 10.0,
    looks: int = 1,
    epoch: int = 1,
) -> RunFolder:
    """A finished run with these evaluations; runs are as old as their order."""
    folder = RunFolder(workspace.experiment(settings.name) / "runs" / key)
    folder.write(
        RunRecord(
            key=key,
            label=settings.title,
            status="finished",
            seed=settings.seed,
            tracking_id=f"mlflow-{key}",
            config=settings.to_dict(),
            data_hashes={"manifest": "4acf"},
            environment={"device": "cpu"},
            best_epoch=epoch,
            val_value=val,
            looks=(TestLook(name="test/captioned-gallery", time="2026-01-01T00:00:00+00:00"),) * looks,
        )
    )
    folder.encoder.write_bytes(f"weights of {key}".encode())
    config = folder.path / "config.toml"
    config.write_text(settings.to_toml(), encoding="utf-8")
    number = len(list(folder.path.parent.iterdir()))
    os.utime(config, (number, number))
    folder.write_curve([{"epoch": epoch, "train/loss": 2.0 / (epoch + 1), "val/raw/t2v/R1": val} for epoch in (1, 2)])
    for record in records:
        folder.write_evaluation(record)
    return folder


def scored_run(workspace: Workspace, label: str, *overrides: str, key: str, skill: float = 1.0, **more) -> RunFolder:
    """A run scored on val and test."""
    records = [evaluation(split, skill=skill) for split in ("val", "test")]
    return write_run(workspace, experiment(f"label={label}", *overrides), *records, key=key, **more)
