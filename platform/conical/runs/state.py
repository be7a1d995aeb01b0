"""Where supplements, run, sweep and evaluations of an experiment stand, and what a stale one was made from."""

from __future__ import annotations

from conical.captioning import describe_captioner
from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.errors import UserError
from conical.core.stage_state import StageState
from conical.metrics import parse_metric_name, readable
from conical.runs.dependencies import DETERMINING_TABLES, dependencies_of
from conical.runs.identity import identify, sweep_path
from conical.runs.staleness import stale_evaluations
from conical.runs.supplements import captioner_recipe, failure_reasons, planned_rows
from conical.store import CaptionLedger, FrameStore, RunRecord, Workspace, list_runs, read_manifest, read_sweep
from conical.video.recipe import FrameRecipe

_MOST_NAMED = 4


def wanted_prompts(experiment: Experiment) -> set[str]:
    """Prompts whose supplements the mix, its search or a protocol may read."""
    searched = experiment.tune.space.get("mix", {}).get("simplex", ())
    return ({*experiment.mix.sources(), *searched} - {HUMAN}) | experiment.evaluate.supplement_prompts


def supplements_state(experiment: Experiment, workspace: Workspace) -> StageState:
    """How many of the supplements that the experiment may read are written, by prompt."""
    wanted = wanted_prompts(experiment)
    if not wanted:
        return StageState(stage="supplements", state="fresh", detail="none are read: the mix takes human captions only")
    folder = experiment.dataset.folder
    recipe = captioner_recipe(experiment, describe_captioner(experiment.captions))
    path = workspace.frames(folder, recipe.hash)
    if not workspace.manifest(folder).is_file() or not (path / "card.json").is_file():
        missing = "the captioner has no frames: run conical caption"
        return StageState(stage="supplements", state="missing", detail=missing)
    rows = planned_rows(experiment, read_manifest(workspace.manifest(folder)), FrameStore.open(path))
    ledger = CaptionLedger(workspace.captions(folder))
    written, failures = ledger.keys(), ledger.failures()
    parts, num_written, num_missing = [], 0, 0
    unasked = sorted(wanted - set(experiment.captions.prompts))
    for prompt in sorted(wanted - set(unasked)):
        keys = {row.key for row in rows if row.prompt.id == prompt}
        failed = [failure for failure in failures if failure.key in keys]
        num_written += len(keys & written)
        num_missing += len(keys - written) if keys else 1
        why = f" ({len(failed)} failed: {failure_reasons(failed)})" if failed else ""
        parts.append(f"{prompt} {len(keys & written)} of {len(keys)}{why}")
    state = "fresh" if not num_missing and not unasked else "partial" if num_written else "missing"
    parts += [f"{', '.join(unasked)} not asked for (captions.prompts)"] if unasked else []
    advice = "" if not num_missing else "; run conical caption"
    captioner = experiment.captions.captioner
    return StageState(stage="supplements", state=state, detail=f"{captioner}: {', '.join(parts)}{advice}")


def run_state(experiment: Experiment, workspace: Workspace) -> StageState:
    """Whether the run is finished; if not, the latest run of the same method and what has changed since it."""
    try:
        identity = identify(experiment, workspace)
    except UserError as error:
        return StageState(stage="run", state="missing", detail=str(error))
    if identity.folder.exists:
        record = identity.folder.read()
        done = record.status == "finished"
        words = ", ".join(filter(None, (record.label, record.status, record.supplements_note)))
        detail = f"{record.key}: {words}" + ("" if done else "; run conical train")
        return StageState(stage="run", state="fresh" if done else "partial", detail=detail)
    earlier = _latest_alike(experiment, workspace)
    if earlier is None:
        return StageState(stage="run", state="missing", detail=f"{identity.key}: not trained yet; run conical train")
    changes = identity.depends_on.changes_since(dependencies_of(earlier))
    more = f" and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
    detail = f"{earlier.key} was made with another {', '.join(changes[:_MOST_NAMED])}{more}; run conical train"
    return StageState(stage="run", state="stale", detail=detail)


def evaluation_states(experiment: Experiment, workspace: Workspace) -> list[StageState]:
    """One line per evaluation that `[evaluate]` asks for, of the run that the experiment is now."""
    names = experiment.evaluate.names()
    try:
        run = identify(experiment, workspace).folder
    except UserError:
        run = None
    if run is None or not run.is_finished:
        return [StageState(stage=str(name), state="missing", detail="the run is not finished") for name in names]
    stored = {
        name: run.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset) for name in names
    }
    scored = [record for record in stored.values() if record is not None]
    stale = stale_evaluations(run, scored, experiment.evaluate, experiment=experiment, workspace=workspace)
    reasons = {one.scored.name: one.reason for one in stale}
    selected = parse_metric_name(experiment.select_by)
    states = []
    for name, record in stored.items():
        if record is None:
            states.append(StageState(stage=str(name), state="missing", detail="not scored yet; run conical evaluate"))
        elif name in reasons:
            detail = f"scored {reasons[name]}; conical evaluate --repeat scores again"
            states.append(StageState(stage=str(name), state="stale", detail=detail))
        else:
            value = record.metrics[f"{selected.direction}/{selected.metric}"].value
            detail = f"{readable(experiment.select_by).removeprefix('val ')} {value:.1f}"
            states.append(StageState(stage=str(name), state="fresh", detail=detail))
    return states


def sweep_state(experiment: Experiment, workspace: Workspace) -> StageState:
    """Whether the sweep of `[tune]` has ended."""
    try:
        sweep = read_sweep(sweep_path(experiment, workspace))
    except UserError as error:
        return StageState(stage="sweep", state="missing", detail=str(error))
    if sweep is None:
        return StageState(stage="sweep", state="missing", detail="not searched yet; run conical tune")
    ended = sum(trial.status != "running" for trial in sweep.trials)
    state = "fresh" if sweep.is_finished else "partial"
    detail = f"{sweep.key}: {ended} of {experiment.tune.num_trials} trials ended"
    return StageState(stage="sweep", state=state, detail=detail + ("" if sweep.is_finished else "; run conical tune"))


def _latest_alike(experiment: Experiment, workspace: Workspace) -> RunRecord | None:
    """The newest finished run of the same label and seed, else of the same determining settings, that is no trial."""
    runs = [run for run in list_runs(workspace.experiment(experiment.name)) if run.is_finished]
    runs.sort(key=lambda run: (run.path / "config.toml").stat().st_mtime, reverse=True)
    records = [run.read() for run in runs]
    config = experiment.to_dict()
    for record in records:
        if (record.label, record.seed) == (experiment.title, experiment.seed):
            return record
    alike = [record for record in records if all(record.config[name] == config[name] for name in DETERMINING_TABLES)]
    return alike[0] if alike else None


def captioner_frames_recipe(experiment: Experiment) -> FrameRecipe | None:
    """Recipe of the frames that the captioner watches; None where no supplement is read."""
    if not wanted_prompts(experiment):
        return None
    return captioner_recipe(experiment, describe_captioner(experiment.captions))
