"""What scoring refuses, so that no number of test was chosen on test and no gallery holds its query."""

from __future__ import annotations

from collections.abc import Sequence

from conical.captioning import Prompt
from conical.config import Experiment
from conical.core.errors import DataError, ProtocolError
from conical.engine.options import EvaluateOptions
from conical.store import RunFolder, Sweep, Workspace, manifest_hash, read_manifest, read_sweep
from conical.store.audits import LeakFree, read_leak_free


def refuse_unfinished(run: RunFolder) -> None:
    """Refuse a run that has no final encoder.

    Raises:
        DataError: it is not finished.
    """
    if not run.is_finished:
        record = run.read()
        raise DataError(
            f"run {record.key} ({record.label}) is {record.status}, not finished: train it to the end first"
        )


def is_losing_trial(run: RunFolder, *, allow: bool) -> bool:
    """Whether a run is a trial that its sweep did not choose; scoring it on test would make test part of the search.

    Args:
        allow: let it pass, to be recorded.

    Raises:
        ProtocolError: it is, and `allow` is false.
    """
    record = run.read()
    stored = [read_sweep(path) for path in sorted(run.path.parent.parent.glob("sweeps/*/sweep.json"))]
    sweeps = [sweep for sweep in stored if sweep is not None]
    trials = [(sweep, trial) for sweep in sweeps for trial in sweep.trials if trial.run_key == record.key]
    if not trials or any(_winner(sweep) == record.key for sweep, _ in trials):
        return False
    if allow:
        return True
    sweep, trial = trials[-1]
    winner = _winner(sweep)
    advice = f"score the winner (conical evaluate {winner})" if winner else "let the sweep end, then score its winner"
    raise ProtocolError(
        f"run {record.key} is trial {trial.number} of sweep {sweep.key} and was not chosen on val, so it is not scored "
        f"on test: {advice}, or give --allow-trial, which is recorded"
    )


def _winner(sweep: Sweep) -> str:
    return sweep.best.run_key if sweep.is_finished else ""


def refuse_prompts(prompts: Sequence[Prompt], options: EvaluateOptions) -> None:
    """Refuse prompts that a protocol cannot use.

    Args:
        prompts: those that were captioned.
        options: protocols and the prompts they read.

    Raises:
        ProtocolError: a gallery would hold its query, or a prompt was not captioned.
    """
    for protocol in options.protocol_rows:
        protocol.refuse(prompts, options)


def leak_free_list(experiment: Experiment, workspace: Workspace) -> LeakFree:
    """The leak-free list of the dataset as it is now.

    Raises:
        StoreError: there was no audit.
        ProtocolError: the manifest has changed since the audit, or no test video is free of leaks.
    """
    folder = experiment.dataset.folder
    leak_free = read_leak_free(workspace.audit(folder))
    now = manifest_hash(read_manifest(workspace.manifest(folder)))
    if leak_free.manifest_hash != now:
        raise ProtocolError(
            f"the leak-free list of {folder} was made for another manifest ({leak_free.manifest_hash}, now {now}): run "
            "conical data audit again"
        )
    if not leak_free.video_ids:
        raise ProtocolError(f"no test video of {folder} is free of leaks: there is no leak-free subset to score")
    return leak_free
