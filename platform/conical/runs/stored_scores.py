"""Whether a stored evaluation answers what is asked now: the same options on the same videos and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conical.config import Experiment
from conical.core.errors import ProtocolError
from conical.core.hashing import stable_hash
from conical.core.records import VideoRecord
from conical.engine.options import EvaluateOptions
from conical.engine.source import DataSource
from conical.metrics import EvaluationName
from conical.runs.dependencies import data_source
from conical.runs.refusals import leak_free_list
from conical.store import EvaluationRecord, RunRecord, Workspace


def inputs_of(name: EvaluationName, options: EvaluateOptions, hash_of: Callable[[str], str]) -> dict[str, Any]:
    """What an evaluation is made with beside the encoder, to be stored with it.

    Args:
        name: which evaluation.
        options: as asked.
        hash_of: `split_hash` of a split of the data.

    Returns:
        `options`: those that change this evaluation. `data`: by split, the hash of its videos with frames and their
        captions.
    """
    data = {split: hash_of(split) for split in options.splits_behind(name)}
    return {"options": options.behind(name), "data": data}


def split_hash(source: DataSource, split: str) -> str:
    """Content address of the videos of a split that have frames, and of their captions.

    Raises:
        DataError: there is none.
    """
    return _hash_of(source.records(split))


def refuse_other_question(
    stored: Sequence[EvaluationRecord],
    options: EvaluateOptions,
    *,
    record: RunRecord,
    experiment: Experiment,
    workspace: Workspace,
) -> None:
    """Refuse to show stored numbers as the answer to another question than they were made for.

    Data that are not there any more are not compared: nothing could be scored on them either.

    Args:
        stored: evaluations of one run.
        options: as asked now.
        record: of the run.
        experiment: the run's settings.
        workspace: holds the data as they are now.

    Raises:
        ProtocolError: options, videos, captions or the leak-free list differ.
    """
    now = _records_now(stored, experiment, workspace)
    for scored in stored:
        difference = _other_options(scored, options) or _other_data(scored, now)
        if not difference and scored.subset and workspace.audit(experiment.dataset.folder).is_dir():
            leak_free = leak_free_list(experiment, workspace)
            if scored.hashes["subset"] != leak_free.ids_hash:
                difference = f"on another leak-free list, now of {len(leak_free.video_ids)} videos"
        if difference:
            raise ProtocolError(
                f"{scored.name} of run {record.key} ({record.label}) was scored {difference}: conical evaluate "
                "--repeat scores again"
            )


def _other_options(scored: EvaluationRecord, options: EvaluateOptions) -> str:
    """What was asked otherwise, in words."""
    known = scored.inputs["options"]
    for option, asked in options.behind(scored.name).items():
        if asked != known.get(option):
            return f"with {option} {_words(known.get(option))}, asked {_words(asked)}"
    return ""


def _other_data(scored: EvaluationRecord, now: dict[str, list[VideoRecord]]) -> str:
    gallery = now.get(scored.split)
    if gallery is not None and scored.video_ids != tuple(record.video_id for record in gallery):
        return f"on other videos ({len(scored.video_ids)}, now {len(gallery)})"
    before = scored.inputs["data"]
    changed = [split for split, data_hash in before.items() if split in now and data_hash != _hash_of(now[split])]
    return f"on other videos or captions of {', '.join(changed)}" if changed else ""


def _records_now(
    stored: Sequence[EvaluationRecord], experiment: Experiment, workspace: Workspace
) -> dict[str, list[VideoRecord]]:
    """By split, the videos with frames; nothing where manifest or frames have gone."""
    folder = experiment.dataset.folder
    card = workspace.frames(folder, experiment.frames.hash) / "card.json"
    if not (card.is_file() and workspace.manifest(folder).is_file()):
        return {}
    source = data_source(experiment, workspace, has_supplements=False)
    splits = {split for scored in stored for split in (scored.split, *scored.inputs["data"])}
    return {split: source.records(split) for split in sorted(splits)}


def _hash_of(records: Sequence[VideoRecord]) -> str:
    return stable_hash([[record.video_id, list(record.captions)] for record in records])


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
