"""Whether stored numbers still answer: for the options asked, on the data and with the encoder as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from conical.config import Experiment, parse_experiment
from conical.core.errors import ConfigError, ProtocolError
from conical.engine.options import EvaluateOptions
from conical.metrics import EvaluationName
from conical.runs.dependencies import Dependencies, EvaluationDependencies, KnownHashes
from conical.store import EvaluationRecord, RunFolder, Workspace


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A stored evaluation that was made from something else than is there now.

    Args:
        reason: what differs, such as `on other frames of test`.
    """

    scored: EvaluationRecord
    reason: str


def stale_evaluations(
    run: RunFolder,
    stored: Sequence[EvaluationRecord],
    options: EvaluateOptions,
    *,
    experiment: Experiment,
    workspace: Workspace,
    hashes: KnownHashes | None = None,
) -> list[Stale]:
    """The stored evaluations that would come out otherwise today.

    Data that are not there any more are not compared: nothing could be scored on them either.

    Args:
        experiment: the run's settings.
        workspace: holds the data as they are now.
        hashes: see `EvaluationDependencies`.
    """
    now = EvaluationDependencies(run, experiment, workspace, options, hashes=hashes)
    reasons = ((scored, stale_reason(now.of(scored.name), scored)) for scored in stored)
    return [Stale(scored=scored, reason=reason) for scored, reason in reasons if reason]


def stale_reason(now: Dependencies, scored: EvaluationRecord) -> str:
    """What differs between now and when it was scored, in words; "" if nothing does.

    Args:
        now: what the evaluation would depend on today; data that are gone have the hash "".
    """
    then = Dependencies(settings=scored.depends_on.get("settings", {}), data=scored.depends_on.get("data", {}))
    changes = now.changes_since(then)
    for name in changes:
        if name in now.settings or name in then.settings:
            return f"with {name} {_words(then.settings.get(name))}, asked {_words(now.settings.get(name))}"
    data = [name for name in changes if now.data.get(name) and name in then.data]
    # `files of test` and the like are many; encoder, list and code are one thing
    many = [name for name in data if " of " in name and not name.startswith("code of ")]
    single = [name for name in data if name not in many]
    words = [f"with another {' and '.join(single)}"] if single else []
    words += [f"on other {', '.join(many)}"] if many else []
    return " and ".join(words)


def refuse_stale(stale: Sequence[Stale], run: RunFolder) -> None:
    """Refuse to show stored numbers as the answer to another question than they were made for.

    Raises:
        ProtocolError: there is one.
    """
    for one in stale:
        record = run.read()
        raise ProtocolError(
            f"{one.scored.name} of run {record.key} ({record.label}) was scored {one.reason}: "
            "conical evaluate --repeat scores again"
        )


def stale_by_name(
    run: RunFolder,
    stored: Iterable[EvaluationRecord],
    workspace: Workspace,
    *,
    hashes: KnownHashes | None = None,
) -> dict[str, str]:
    """Evaluations of a run that were made from other data, or by another encoder, than are there now.

    Args:
        stored: evaluations of it; the options are those that each was made with.
        workspace: holds the data as they are now.
        hashes: see `EvaluationDependencies`.

    Returns:
        Name of the evaluation to what differs, in words.
    """
    record = run.read()
    experiment = parse_experiment(record.config, origin=f"the settings of run {record.key}")
    reasons = {}
    for scored in stored:
        try:
            options = options_of(scored, experiment)
        except ConfigError:
            continue  # of a protocol or family from outside that this experiment does not name
        for one in stale_evaluations(run, [scored], options, experiment=experiment, workspace=workspace, hashes=hashes):
            reasons[str(scored.name)] = one.reason
    return reasons


def stale_notes(runs: Sequence[RunFolder], name: EvaluationName, workspace: Workspace) -> list[str]:
    """A sentence per run whose evaluation is stale.

    Args:
        workspace: holds the data as they are now.
    """
    notes = []
    hashes: KnownHashes = {}
    for run in runs:
        scored = run.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset)
        reasons = stale_by_name(run, [scored] if scored else [], workspace, hashes=hashes)
        record = run.read()
        notes += [
            f"Stale: {name} of {record.label} ({record.key}) was scored {reason} than are there now; conical evaluate "
            f"{record.key} --repeat scores again."
            for reason in reasons.values()
        ]
    return notes


def options_of(scored: EvaluationRecord, experiment: Experiment) -> EvaluateOptions:
    """The options that an evaluation was made with, so that only its data and encoder can be stale."""
    asked: dict[str, Any] = {f"evaluate.{name}": value for name, value in scored.depends_on.get("settings", {}).items()}
    asked["evaluate.protocols"] = [scored.protocol]
    asked["evaluate.families"] = [scored.family] if scored.family else []
    return experiment.replace(asked).evaluate


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
