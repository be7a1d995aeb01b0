"""Scoring as plain values that travel: in this process, or in a Ray task where the GPUs are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conical.config import parse_experiment
from conical.engine.options import EvaluateOptions
from conical.engine.source import DataSource
from conical.metrics import EvaluationName
from conical.on_ray.room import Need, told_of_waiting
from conical.store import EvaluationRecord, RunFolder


@dataclass(frozen=True, kw_only=True)
class ScoreTask:
    """What is to be scored.

    Args:
        path: the run's folder.
        settings: the run's experiment as plain values.
        source: its data, with the supplements that the protocols read.
        options: how each evaluation is made.
        subsets: subset to the ids of its test videos.
    """

    path: str
    settings: dict[str, Any]
    source: DataSource
    options: EvaluateOptions
    names: tuple[EvaluationName, ...]
    subsets: dict[str, tuple[str, ...]]


def score_on_ray(task: ScoreTask, need: Need, tell: Callable[[str], None]) -> list[EvaluationRecord]:
    """`score_task` in a Ray task, tried again if its worker dies. Ray must be running.

    Args:
        need: what the task reserves.
        tell: told what it waits for.

    Raises:
        ClusterError: the cluster has no room for it, or it died again and again.
    """
    import ray

    from conical.on_ray.failures import explain

    started = time.time()
    name = f"{need.stage} {Path(task.path).name}"
    remote = ray.remote(num_cpus=need.each["CPU"], num_gpus=need.each.get("GPU", 0), max_retries=3)(score_task)
    with told_of_waiting(need, tell):
        try:
            scored: list[EvaluationRecord] = ray.get(remote.options(name=name).remote(task))
        except ray.exceptions.RayError as error:
            raise explain(error, stage="evaluation", lower="evaluate.batch_size", since=started) from error
    return scored


def score_task(task: ScoreTask) -> list[EvaluationRecord]:
    """All of `score_each`: a Ray task gives its result at once."""
    return list(score_each(task))


def score_each(task: ScoreTask) -> Iterator[EvaluationRecord]:
    """Embed and rank with a run's best encoder, in this process; one record per name, in their order."""
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
        task.options,
        source=task.source,
        prompts=experiment.captions.resolved_prompts(),
        subsets=dict(task.subsets),
        seed=experiment.seed,
    )
    for name in task.names:
        yield scorer.score(name)
