"""How an experiment looks when it is opened in MLflow: model training, and a saved view of the numbers that count.

MLflow keeps a view that is shared by link in a tag of the experiment, `mlflow.sharedViewState.<key>`, and its pages
read it where the address ends in `?viewStateShareKey=<key>`. The form is that of MLflow's own "Share" button: the
columns of the table of runs, and the charts. It is no documented interface: a test opens the link in a browser.
"""

from __future__ import annotations

import json
from typing import Any

VIEW_KEY = "conical"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_DIRECTIONS = ("t2v", "v2t")
_METRICS = ("R1", "R5", "R10", "MeanR")


def experiment_tags() -> dict[str, str]:
    """Tags of an experiment: its kind (else MLflow opens the pages for chat applications), its view, what it is."""
    return {
        "mlflow.experimentKind": "custom_model_development",
        VIEW_TAG: json.dumps(view()),
        "mlflow.note.content": (
            "Video-text retrieval. `test/...` are final scores by protocol raw, `best val/...` is what chose the "
            "epoch, "
            "`val/...` and `train/...` are curves over epochs. R1, R5, R10 are R@k in percent; MeanR is the mean "
            "rank, lower is better. The run named report holds tables and figures of the whole experiment."
        ),
    }


def view() -> dict[str, Any]:
    """State of the page of runs: columns, and charts in sections."""
    columns = [f"metrics.`test/{direction} {metric}`" for direction in _DIRECTIONS for metric in _METRICS]
    names = {"test": True, "val": True, "train": True, "best val": False, "step": False}
    sections = [
        {"uuid": name, "name": name, "display": is_open, "isReordered": True, "deleted": False, "isGenerated": False}
        for name, is_open in names.items()
    ]
    return {
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": _charts(),
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,
    }


def _charts() -> list[dict[str, Any]]:
    """One per metric that every run may have; for those of other settings MLflow adds its own."""
    final = [_chart("BAR", f"test/{direction} {metric}") for metric in _METRICS for direction in _DIRECTIONS]
    curves = [_chart("LINE", f"val/{direction} {metric}") for metric in ("R1", "MeanR") for direction in _DIRECTIONS]
    training = [_chart("LINE", name) for name in ("train/loss", "train/learning_rate", "step/loss")]
    return [*final, *curves, *training]


def _chart(kind: str, metric: str) -> dict[str, Any]:
    section = metric.partition("/")[0]
    chart = {
        "type": kind,
        "uuid": metric,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric.partition("/")[2],
        "metricSectionId": section,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }
    if kind == "LINE":
        chart |= {
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisKey": "step",
            "xAxisScaleType": "linear",
            "range": {},
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "selectedXAxisMetricKey": "",
            "ignoreOutliers": False,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }
    return chart
