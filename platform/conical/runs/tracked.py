"""What of a run MLflow shows: at most `MAX_METRICS` metrics that runs are compared by, a table, a description.

    test/t2v R1     R1, R5, R10, MeanR of both directions, protocol `raw`: the final scores             8
    val/t2v R1      R1 and MeanR of both directions, and the metric that selects, per epoch             4 or 5
    best val/...    the metric that selects, at the best epoch: what trials are compared by             1
    train/loss      mean of each epoch; also `train/learning_rate` and the first terms of the loss      up to 5
    step/loss       per optimiser step                                                                  1

The record of a run stays whole beside them: `run/curve.json` (all numbers of each epoch) and `evaluation/metrics.csv`
(all protocols, families and subsets with their intervals) among its artefacts.
"""

from __future__ import annotations

import csv
import getpass
import io
import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from conical.config import Experiment
from conical.metrics import EvaluationName, metric_name, readable, tracked_name
from conical.runs.provenance import git_commit
from conical.store import EvaluationRecord
from conical.tracking import TrackedDataset

MAX_METRICS = 20
_MAX_TERMS = 3  # CEO has as many
_FINAL = ("R1", "R5", "R10", "MeanR")
_CURVES = ("R1", "MeanR")
_NO_TERMS = ("loss", "learning_rate", "grad_norm", "rows_per_second", "waiting_share")
_DIRECTIONS = ("t2v", "v2t")


def epoch_metrics(row: Mapping[str, float], *, select_by: str) -> dict[str, float]:
    """The metrics of an epoch that MLflow shows.

    Args:
        row: all numbers of the epoch by name: `val/raw/t2v/R1`, `train/loss`.
        select_by: the metric that selects, always shown.
    """
    curves = [metric_name("val", "raw", direction, metric) for direction in _DIRECTIONS for metric in _CURVES]
    terms = [name for name in row if name.startswith("train/") and name.removeprefix("train/") not in _NO_TERMS]
    shown = {tracked_name(name): row[name] for name in dict.fromkeys((select_by, *curves)) if name in row}
    training = ("train/loss", "train/learning_rate", *terms[:_MAX_TERMS])
    return shown | {name: row[name] for name in training if name in row}


def step_metrics(step: Mapping[str, float]) -> dict[str, float]:
    """The metrics of an optimiser step that MLflow shows."""
    return {"step/loss": step["loss"]} if "loss" in step else {}


def best_metric(select_by: str) -> str:
    """MLflow's name of the best epoch's value of the metric that selects.

    >>> best_metric("val/raw/t2v/R1")
    'best val/t2v R1'
    """
    return f"best {tracked_name(select_by)}"


def final_metrics(scored: EvaluationRecord) -> dict[str, float]:
    """The final scores that MLflow shows; none unless it is all of test by protocol `raw`, as other numbers may not
    stand in the same column."""
    if scored.name != EvaluationName(split="test"):
        return {}
    shown = [f"{direction}/{metric}" for direction in _DIRECTIONS for metric in _FINAL]
    return {
        tracked_name(f"{scored.name}/{name}"): scored.metrics[name].value for name in shown if name in scored.metrics
    }


def metrics_table(evaluations: Iterable[EvaluationRecord]) -> str:
    """All numbers of all evaluations as CSV, with intervals and what they were scored on."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("scored on", "direction", "metric", "value", "low", "high", "queries", "gallery", "note"))
    for scored in evaluations:
        about = (scored.num_queries, scored.num_gallery, "; ".join(filter(None, _notes(scored))))
        for name, metric in scored.metrics.items():
            values = ("" if value is None else f"{value:.2f}" for value in (metric.value, metric.low, metric.high))
            table.writerow((scored.name, *name.split("/"), *values, *about))
    return text.getvalue()


def _notes(scored: EvaluationRecord) -> tuple[str, ...]:
    return (scored.settings_note, scored.partial_note, *scored.shared)


def about_run(experiment: Experiment, *, description: str) -> dict[str, str]:
    """Tags that MLflow shows as source, version, user and description of a run."""
    commit = git_commit()
    command = "conical" if Path(sys.argv[0]).stem in ("conical", "__main__") else Path(sys.argv[0]).name or "python"
    tags = {
        "conical.commit": commit,
        "conical.command": shlex.join([command, *sys.argv[1:]])[:5000],
        # MLflow cuts a local source at its last slash: the command's name alone, its options have a tag of their own
        "mlflow.source.name": " ".join([command, *sys.argv[1:2]]).replace("/", " "),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "mlflow.note.content": description,
        "conical.dataset": experiment.dataset.name,
    }
    if commit != "unknown":
        tags["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
    return tags


def describe_run(experiment: Experiment, *, key: str) -> str:
    """What a run is, in words, as Markdown; the user's own words stand in code, where they are no markup."""
    shares = ", ".join(f"{share:g} {name}" for name, share in experiment.mix.items())
    epochs = experiment.optim.epochs
    trained = f"trained for {epochs} epochs with loss {code(experiment.loss.name)} on texts {code(shares)}"
    how = trained if epochs else "not trained (zero-shot)"
    return (
        f"{code(experiment.title)} on {code(experiment.dataset.name)}: {how}, seed {experiment.seed}; "
        f"the epoch is chosen by {readable(experiment.select_by)}.\n\n"
        f"Percent for R@k, ranks from 1 for MeanR. All protocols and intervals: `evaluation/metrics.csv` among the "
        f"artefacts. Run `{key}` of the workspace."
    )


def code(text: str) -> str:
    """Text as a Markdown code span, whatever it holds."""
    fence = "`" * (max((len(part) for part in _runs_of_ticks(text)), default=0) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{' '.join(text.split()) or '-'}{padding}{fence}"


def _runs_of_ticks(text: str) -> list[str]:
    return "".join(character if character == "`" else " " for character in text).split()


def dataset_of(experiment: Experiment, data: Mapping[str, str]) -> TrackedDataset:
    """The dataset as MLflow's input of a run.

    Args:
        data: content hashes of what the run reads; `manifest` is the dataset's.
    """
    options = experiment.dataset
    source = {"reader": options.reader or options.name, "root": str(options.root)}
    return TrackedDataset(name=options.name, digest=data.get("manifest", "unknown"), source=json.dumps(source))


def _user() -> str:
    """Who runs it; containers may have users without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return "unknown"
