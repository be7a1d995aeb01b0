"""What MLflow shows of a run: never more than twenty metrics, whatever loss, metric and protocols were chosen."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from conical.metrics import DIRECTIONS, METRICS, MetricValue, tracked_name
from conical.runs.tracked import (
    MAX_METRICS,
    best_metric,
    code,
    epoch_metrics,
    final_metrics,
    metrics_table,
    step_metrics,
)
from conical.store import EvaluationRecord
from conical.tracking.mlflow_tracker import legal_name
from conical.tracking.view import view


def _epoch(num_terms: int) -> dict[str, float]:
    val = {f"val/raw/{direction}/{metric}": 1.0 for direction in DIRECTIONS for metric in METRICS}
    terms = {f"train/loss_{number}": 1.0 for number in range(num_terms)}
    others = ("loss", "learning_rate", "grad_norm", "rows_per_second", "waiting_share")
    return {"epoch": 1.0, **val, **terms, **{f"train/{name}": 1.0 for name in others}}


@pytest.mark.parametrize("num_terms", [0, 1, 3, 12])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("metric", METRICS)
def test_a_run_has_at_most_twenty_metrics_with_names_that_mlflow_takes(num_terms: int, direction: str, metric: str):
    select_by = f"val/raw/{direction}/{metric}"
    keys = set(epoch_metrics(_epoch(num_terms), select_by=select_by))
    keys |= set(step_metrics({"step": 3.0, "loss": 1.0, "grad_norm": 2.0})) | {best_metric(select_by)}
    keys |= set(final_metrics(_scored("test")))
    assert len(keys) <= MAX_METRICS == 20
    assert {tracked_name(select_by), best_metric(select_by), "step/loss", "train/loss", "test/v2t MeanR"} <= keys
    assert [key for key in keys if legal_name(key) != key] == []


def _scored(split: str, **changes: object) -> EvaluationRecord:
    metrics = {
        f"{direction}/{metric}": MetricValue(value=30.0, low=20.0, high=40.0)
        for direction in DIRECTIONS
        for metric in METRICS
    }
    plain = {"split": split, "protocol": "raw", "num_queries": 2, "num_gallery": 2, "has_ties": False, "hashes": {}}
    arrays = {
        "ranks_t2v": np.ones(2),
        "ranks_v2t": np.ones(2),
        "similarity": np.eye(2, dtype=np.float32),
        "text_video": np.arange(2),
    }
    names = {"video_ids": ("a", "b"), "texts": ("a", "b"), "rankings": {}}
    return EvaluationRecord(**plain | arrays | names | {"metrics": metrics} | changes)


@pytest.mark.parametrize(
    "other",
    [
        _scored("val"),
        _scored("test", protocol="paired"),
        _scored("test", family="dsl"),
        _scored("test", subset="leak-free"),
    ],
    ids=lambda scored: str(scored.name),
)
def test_other_evaluations_go_to_the_table_alone(other: EvaluationRecord) -> None:
    assert final_metrics(other) == {}
    rows = list(csv.DictReader(io.StringIO(metrics_table([_scored("test"), other]))))
    assert len(rows) == 2 * len(DIRECTIONS) * len(METRICS)
    assert [rows[-1][name] for name in ("scored on", "value", "low", "high")] == [
        str(other.name), "30.00", "20.00", "40.00",
    ]  # fmt: skip


def test_the_view_shows_the_final_metrics_as_columns() -> None:
    state = view()
    assert state["selectedColumns"] == [f"metrics.`{name}`" for name in final_metrics(_scored("test"))]
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections - {"best val"}


@pytest.mark.parametrize("text", ["plain", "`a`", "a``b", "<b>", "two\nlines", "", "[x](y)"])
def test_a_users_words_are_no_markup(text: str) -> None:
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    assert fence
    assert shown.endswith(fence)
    assert fence not in shown[len(fence) : -len(fence)]
    assert "\n" not in shown
