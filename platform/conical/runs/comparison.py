"""Compare runs on the same queries; runs between which nothing but the seed differs are seeds of one method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DataError, ProtocolError
from conical.core.options import require_choice
from conical.metrics import DIRECTIONS, Comparison, EvaluationName, Ranking, compare, metric_name
from conical.runs.dependencies import method_dependencies
from conical.store import EvaluationRecord, RunFolder

# behind the name of a method whose runs all have best epoch 0
_AS_LOADED = " (as loaded)"


def compare_methods(
    a: list[RunFolder],
    b: list[RunFolder],
    *,
    split: str,
    protocol: str = "raw",
    family: str | None = None,
    subset: str | None = None,
    direction: str = "t2v",
    metric: str = "R1",
    confidence: float = 0.95,
    labels: tuple[str, str] | None = None,
) -> Comparison:
    """Paired bootstrap, a against b, seed by seed; queries with ties count by the probability of a hit.

    Args:
        a: runs of the method that is judged.
        b: runs of the one it is judged against; where seeds are shared, the same seeds are compared.
        protocol: of the evaluations, the same on both sides.
        family: likewise.
        subset: likewise.
        direction: one of `conical.metrics.DIRECTIONS`.
        metric: one of `conical.metrics.METRICS`.
        confidence: of the interval that decides, in (0, 1).
        labels: what to call the methods; None: as their runs are called. A method that training did not improve on
            val is marked: it stands for the weights as loaded.

    Returns:
        Difference, interval, verdict.

    Raises:
        DataError: a run was not scored so; runs of a method differ in more than the seed, or two have one seed; the
            methods share no seed, or a run would be compared with itself.
        ProtocolError: queries, gallery or the way of scoring differ.
    """
    require_choice("direction", direction, DIRECTIONS)
    name = EvaluationName(split=split, protocol=protocol, family=family, subset=subset)
    by_seed_a, by_seed_b = _by_seed(a), _by_seed(b)
    seeds = sorted(by_seed_a.keys() & by_seed_b.keys())
    same = [by_seed_a[seed].path.name for seed in seeds if by_seed_a[seed].path == by_seed_b[seed].path]
    if same:
        raise DataError(
            f"run {same[0]} ({a[0].read().label}) would be compared with itself: name two different runs or labels"
        )
    if not seeds:
        raise DataError(
            f"no common seed: {a[0].read().label!r} has {sorted(by_seed_a)}, "
            f"{b[0].read().label!r} has {sorted(by_seed_b)}"
        )
    scored_a = [_scored(by_seed_a[seed], name) for seed in seeds]
    scored_b = [_scored(by_seed_b[seed], name) for seed in seeds]
    refuse_difference([*scored_a, *scored_b])
    rankings_a, rankings_b = ([_ranking_of(scored, direction) for scored in group] for group in (scored_a, scored_b))
    compared = compare(
        rankings_a,
        rankings_b,
        metric=metric,
        groups=query_groups(scored_a[0], direction),
        confidence=confidence,
    )
    label_a, label_b = labels or (a[0].read().label, b[0].read().label)
    label_a += _AS_LOADED if all(by_seed_a[seed].read().is_as_loaded for seed in seeds) else ""
    label_b += _AS_LOADED if all(by_seed_b[seed].read().is_as_loaded for seed in seeds) else ""
    full_name = metric_name(split, protocol, direction, metric, family, subset)
    return dataclasses.replace(compared, label_a=label_a, label_b=label_b, metric=full_name)


def unpaired_seeds(a: list[RunFolder], b: list[RunFolder]) -> str:
    """The seeds that `compare_methods` leaves out since the other method has no run of them, in words; "" if none."""
    seeds_a, seeds_b = ({run.read().seed for run in runs} for runs in (a, b))
    notes = [
        f"seed {', '.join(map(str, sorted(unpaired)))} of {runs[0].read().label}"
        for runs, unpaired in ((a, seeds_a - seeds_b), (b, seeds_b - seeds_a))
        if unpaired
    ]
    return f"Left out, as the other has no run of it: {'; '.join(notes)}." if notes else ""


def same_weights(runs: Mapping[str, EvaluationRecord]) -> tuple[str, ...]:
    """Runs that were scored with one and the same encoder, in words.

    Args:
        runs: what a reader calls a run, to an evaluation of it.
    """
    named: dict[str, list[str]] = {}
    for label, scored in runs.items():
        if encoder := scored.depends_on.get("data", {}).get("encoder"):
            named.setdefault(encoder, []).append(label)
    return tuple(
        f"Of the same weights, so that no difference between them comes from training: {'; '.join(labels)}."
        for labels in named.values()
        if len(labels) > 1
    )


def lacking_supplements(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """A sentence per run whose mix asked for supplements that were not there."""
    records = [run.read() for run in runs]
    return tuple(
        f"{record.label} ({record.key}) was {record.supplements_note}." for record in records if record.supplements_note
    )


def _by_seed(runs: list[RunFolder]) -> dict[int, RunFolder]:
    """The runs of a method; others than seeds of it, or two of one seed, would make the choice between them chance."""
    first, *others = (run.read() for run in runs)
    for other in others:
        if changes := method_dependencies(other).changes_since(method_dependencies(first)):
            raise DataError(
                f"runs {first.key} and {other.key}, both {first.label!r}, are not two seeds of one method, since "
                f"{', '.join(changes)} differ too: name one of them by its key, or several by keys with commas"
            )
    runs_by_seed: dict[int, list[RunFolder]] = {}
    for run in runs:
        runs_by_seed.setdefault(run.read().seed, []).append(run)
    for seed, of_seed in runs_by_seed.items():
        if len(of_seed) > 1:
            keys = ", ".join(run.path.name for run in of_seed)
            raise DataError(
                f"{of_seed[0].read().label!r} has {len(of_seed)} runs of seed {seed} ({keys}): compare them by key"
            )
    return {seed: of_seed[0] for seed, of_seed in runs_by_seed.items()}


def refuse_difference(scored: list[EvaluationRecord]) -> None:
    """Refuse evaluations that do not measure the same.

    Raises:
        ProtocolError: split, subset, protocol, family, queries, gallery, bank, the families' scales, or the files or
            captions of the split differ.
    """
    for what in dict.fromkeys(part for record in scored for part in comparable_parts(record)):
        values = {comparable_parts(record).get(what, "") for record in scored}
        if len(values) > 1:
            raise ProtocolError(
                f"the runs were scored with different {what} ({', '.join(sorted(values))}): evaluate them again in "
                "the same way (conical evaluate --repeat)"
            )


def comparable_parts(scored: EvaluationRecord) -> dict[str, str]:
    """What must be equal for two evaluations to be compared, by what a reader calls it.

    The encoders may be fused differently and captioned by others: that is what is compared. Files and captions that
    were replaced between two evaluations make a difference that no method made.
    """
    data = scored.depends_on.get("data", {})
    return {
        "names": str(scored.name),
        **{part: scored.hashes.get(part, "") for part in ("queries", "gallery", "bank")},
        "settings of the family": str(scored.settings.get(scored.family or "")),
        **{part: data.get(f"{part} of {scored.split}", "") for part in ("files", "captions")},
    }


def query_groups(scored: EvaluationRecord, direction: str) -> NDArray[np.int64]:
    """(query,) labels: queries of one video are resampled together; a query of v2t is a video."""
    return scored.text_video if direction == "t2v" else np.unique(scored.text_video)


def _ranking_of(scored: EvaluationRecord, direction: str) -> Ranking:
    if direction not in scored.rankings:
        raise DataError(
            f"{scored.name} has no ranks of direction {direction!r}, only of {', '.join(scored.rankings)}: v2t_any "
            "exists where a video has several captions"
        )
    return scored.rankings[direction]


def _scored(run: RunFolder, name: EvaluationName) -> EvaluationRecord:
    scored = run.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset)
    who = f"run {run.path.name} ({run.read().label})"
    if scored is None:
        known = ", ".join(str(other) for other in run.evaluation_names()) or "nothing"
        raise DataError(f"{who} was not scored on {name}, but on {known}: run evaluate first")
    return scored
