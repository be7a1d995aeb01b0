"""Scoring as plain values that travel: in this process, or in a Ray task where the GPUs are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conical.config import parse_experiment
from conical.engine.options import EvaluateOptions
from conical.engine.source import DataSource
from conical.metrics import EvaluationName, RetrievalMetrics
from conical.store import EvaluationRecord, RunFolder

if TYPE_CHECKING:
    from conical.engine.embedding import Evaluation


@dataclass(frozen=True, kw_only=True)
class ScoreTask:
    """What is to be scored.

    Args:
        path: the run's folder.
        settings: the run's experiment as plain values.
        source: its data, with the supplements that the protocols read.
        options: how each evaluation is made.
        names: the evaluations.
        subsets: subset to the ids of its test videos.
    """

    path: str
    settings: dict[str, Any]
    source: DataSource
    options: EvaluateOptions
    names: tuple[EvaluationName, ...]
    subsets: dict[str, tuple[str, ...]]


def score_on_ray(task: ScoreTask, *, num_gpus: float) -> list[EvaluationRecord]:
    """`score_task` in a Ray task, tried again if its worker dies. Ray must be running."""
    import ray

    remote = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=3)(score_task)
    scored: list[EvaluationRecord] = ray.get(remote.remote(task))
    return scored


def score_task(task: ScoreTask) -> list[EvaluationRecord]:
    """All of `score_each`: a Ray task gives its result at once."""
    return list(score_each(task))


def score_each(task: ScoreTask) -> Iterator[EvaluationRecord]:
    """Embed and rank with a run's best encoder, in this process; one record a name, in their order."""
    import torch

    from conical.engine.scorer import Scorer
    from conical.models.dual_encoder import build_dual_encoder
    from conical.models.weight_files import load_encoder

    experiment = parse_experiment(task.settings, origin="the run's settings")
    encoder = build_dual_encoder(experiment.model)
    load_encoder(encoder, RunFolder(Path(task.path)).encoder)
    encoder.to(torch.device("cuda" if experiment.ray.use_gpu else "cpu"))
    scorer = Scorer(
        encoder,
        task.source,
        task.options,
        prompts=experiment.captions.resolved_prompts(),
        subsets=dict(task.subsets),
        seed=experiment.seed,
    )
    for name in task.names:
        yield _record(scorer.score(name))


def _record(scored: Evaluation) -> EvaluationRecord:
    name, metrics = scored.name, scored.metrics
    return EvaluationRecord(
        split=name.split,
        protocol=name.protocol,
        family=name.family,
        subset=name.subset,
        metrics=_plain(metrics),
        num_queries=metrics.t2v.num_queries,
        num_gallery=metrics.t2v.num_gallery,
        has_ties=any(found.has_ties for found in metrics.directions().values()),
        ranks_t2v=metrics.t2v.ranks,
        ranks_v2t=metrics.v2t.ranks,
        rankings={direction: found.ranking for direction, found in metrics.directions().items()},
        similarity=scored.similarity,
        video_ids=scored.video_ids,
        texts=scored.texts,
        text_video=scored.text_video,
        hashes=scored.hashes,
        settings=scored.settings,
    )


def _plain(metrics: RetrievalMetrics) -> dict[str, dict[str, float]]:
    """`t2v/R1` and so on, with the interval and the values under the extreme tie rules."""
    return {
        f"{direction}/{name}": {
            "value": value,
            "low": found.intervals[name].low,
            "high": found.intervals[name].high,
            "tie_low": found.tie_bounds[name].low,
            "tie_high": found.tie_bounds[name].high,
        }
        for direction, found in metrics.directions().items()
        for name, value in found.values().items()
    }
