"""Compare runs on the same queries; runs of one label are seeds of one method."""

from __future__ import annotations

import numpy as np

from conical.core.errors import DataError, ProtocolError
from conical.metrics import compare, metric_name
from conical.reports import Comparison
from conical.store import EvaluationRecord, RunFolder

# so many trainings let the interval cover another training too; fewer speak of new queries only
_SEEDS_TO_RESAMPLE = 3


def compare_methods(
    a: list[RunFolder],
    b: list[RunFolder],
    *,
    split: str,
    protocol: str = "raw",
    metric: str = "R1",
    labels: tuple[str, str] | None = None,
) -> Comparison:
    """Paired bootstrap of text-to-video retrieval, a against b, seed by seed.

    Args:
        a: runs of the method that is judged.
        b: runs of the one it is judged against; where seeds are shared, the same seeds are compared.
        split: a scored split.
        protocol: of the evaluations.
        metric: one of `conical.metrics.METRICS`.
        labels: what to call the methods; None: as their runs are called.

    Returns:
        Difference, interval, verdict.

    Raises:
        DataError: a run was not scored on the split, or the methods share no seed.
        ProtocolError: the queries differ.
    """
    by_seed_a, by_seed_b = ({run.read().seed: run for run in runs} for runs in (a, b))
    seeds = sorted(by_seed_a.keys() & by_seed_b.keys())
    if not seeds:
        raise DataError(
            f"no common seed: {a[0].read().label!r} has {sorted(by_seed_a)}, "
            f"{b[0].read().label!r} has {sorted(by_seed_b)}"
        )
    scored_a = [_scored(by_seed_a[seed], split, protocol) for seed in seeds]
    scored_b = [_scored(by_seed_b[seed], split, protocol) for seed in seeds]
    queries = {(tuple(scored.texts), tuple(scored.video_ids)) for scored in (*scored_a, *scored_b)}
    if len(queries) != 1:
        raise ProtocolError(f"the runs were scored on different queries or galleries of {split!r}: evaluate them again")
    found = compare(
        np.stack([scored.ranks_t2v for scored in scored_a]),
        np.stack([scored.ranks_t2v for scored in scored_b]),
        metric=metric,
        groups=scored_a[0].text_video,
        resample_seeds=len(seeds) >= _SEEDS_TO_RESAMPLE,
    )
    label_a, label_b = labels or (a[0].read().label, b[0].read().label)
    return Comparison(
        label_a=label_a,
        label_b=label_b,
        metric=metric_name(split, protocol, "t2v", metric),
        difference=found.difference,
        low=found.low,
        high=found.high,
        verdict=found.verdict,
        wins=found.wins,
        losses=found.losses,
        num_seeds=len(seeds),
    )


def _scored(run: RunFolder, split: str, protocol: str) -> EvaluationRecord:
    scored = run.read_evaluation(split, protocol)
    if scored is None:
        raise DataError(f"run {run.path.name} ({run.read().label}) was not scored on {split!r}: run evaluate first")
    return scored
