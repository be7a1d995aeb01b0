"""Each preset trains on scenes with the tiny CLIP, is scored, and says in its header what it is."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path

import pytest

from conical.captioning import describe_captioner
from conical.config import Experiment, load_experiment
from conical.core.hashing import file_fingerprint
from conical.engine.loop import EpochReport
from conical.engine.scorer import Scorer
from conical.library.importing import import_dataset
from conical.models.dual_encoder import build_dual_encoder
from conical.models.heads import head_card
from conical.models.weight_files import load_encoder
from conical.on_ray import epochs
from conical.runs.dependencies import data_source
from conical.runs.identity import identify
from conical.runs.log import RunLog, open_tracker
from conical.runs.supplements import captioner_recipe, find_supplements
from conical.store import FrameRow, FrameStore, RunFolder, Workspace
from conical.store.runs import BEST
from conical.video.decode import sample_frames
from unit.runs.scored_runs import write_supplements

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"
METHODS = (
    *("ceo", "clip4clip-meanp", "clip4clip-seqtransf", "x-clip", "drl", "x-pool", "ts2-net", "teachclip", "dmae"),
    "cap4video",
)
# t2v R@1 of the table of [CEO25] (docs/method.md), by backbone
FIGURES = {
    **{("ceo", "vitb32"): 64.2, ("ceo", "vitb16"): 66.2},
    **{(f"clip4clip-{kind}", "vitb32"): 44.5 for kind in ("meanp", "seqtransf")},
    **{(f"clip4clip-{kind}", "vitb16"): 46.4 for kind in ("meanp", "seqtransf")},
    **{("x-clip", "vitb32"): 46.1, ("x-clip", "vitb16"): 49.3, ("drl", "vitb32"): 47.5, ("drl", "vitb16"): 49.4},
    **{("ts2-net", "vitb32"): 47.2, ("ts2-net", "vitb16"): 47.8, ("dmae", "vitb32"): 46.9, ("dmae", "vitb16"): 49.9},
    **{("teachclip", "vitb32"): 46.8, ("teachclip", "vitb16"): 48.0},
    **{("cap4video", "vitb32"): 50.3, ("cap4video", "vitb16"): 52.3},
}
PRESETS = [f"msrvtt-vitb32-{method}" for method in METHODS]
TINY = {
    "name": "presets",
    "dataset": {"name": "scenes", "root": "", "reader": {}, "scenes": {"train": 16, "val": 6, "test": 6}},
    "frames": {"num_frames": 4, "size": 64, "codec": "raw"},
    "captions": {"captioner": "tiny-video-llava", "model": "", "prompts": ["B", "C"]},
    "model.name": "tiny-clip",
    "optim.batch_size": 8,
    "optim.rows_per_video": 1,
    "optim.epochs": 1,
    "ray": {"num_workers": 1, "use_gpu": False, "cpus_per_worker": 0.5},
    "evaluate.num_resamples": 100,
}
HEAD_SETTINGS = {"num_layers": 1, "num_samples": 20}


def small(preset: str) -> Experiment:
    """The preset with the tiny CLIP on a few scenes; what makes the method stays."""
    experiment = load_experiment(CONFIGS / f"{preset}.toml")
    own = head_card(experiment.model.head).settings
    changes = {**TINY, "model.head_settings": {key: value for key, value in HEAD_SETTINGS.items() if key in own}}
    if set(experiment.mix.sources()) - {"human"}:
        changes["mix"] = {"human": 0.5, "B": 0.5}
    return experiment.replace(changes)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A few scenes with their frames, and a supplement of each prompt for each clip; without Ray and a captioner."""
    workspace = Workspace.open(tmp_path_factory.mktemp("presets"))
    experiment = small(PRESETS[0])
    found = import_dataset(experiment, workspace)
    clips = [record for record in found.records if "broken" not in record.video_id]
    card = describe_captioner(experiment.captions)
    for recipe in (experiment.frames, captioner_recipe(experiment, card)):
        path = workspace.frames(experiment.dataset.folder, recipe.hash)
        store = FrameStore(path, recipe=dataclasses.asdict(recipe), recipe_hash=recipe.hash)
        rows = []
        for record in clips:
            file = found.root / record.uri
            try:
                sampled = sample_frames(file, recipe)
            except Exception:  # noqa: BLE001  two clips are broken on purpose
                continue
            rows.append(FrameRow(video_id=record.video_id, fingerprint=file_fingerprint(file), sampled=sampled))
        store.write_part("0", rows)
    write_supplements(experiment, workspace)
    return workspace


def train(experiment: Experiment, workspace: Workspace) -> tuple[list[float], RunFolder]:
    """Losses of all steps, and the finished run's folder."""
    identity = identify(experiment, workspace)
    log = RunLog(identity, experiment, open_tracker(experiment, workspace))
    losses: list[float] = []

    def report(told: EpochReport) -> None:
        losses.extend(row["loss"] for row in told.step_metrics)
        log.epoch(epochs.epoch_row(told), told.step_metrics)
        told.save(identity.folder.path / "checkpoint")

    epochs.run_epochs(experiment, identity.source, report=report, warn=pytest.fail)
    identity.folder.take_encoder(RunFolder(identity.folder.path / "checkpoint" / BEST))
    log.end("finished")
    return losses, identity.folder


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_trains_on_scenes_and_is_scored(workspace: Workspace, preset: str) -> None:
    experiment = small(preset)
    if experiment.loss.teacher:
        train(small("msrvtt-vitb32-x-clip"), workspace)
    # the published rates of CLIP move nothing in two steps
    experiment = experiment.replace({"optim.learning_rate": 1e-4, "optim.new_learning_rate": 1e-3})
    losses, run = train(experiment, workspace)
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] != losses[0]

    encoder = build_dual_encoder(experiment.model)
    load_encoder(encoder, run.encoder)
    keys = find_supplements(experiment, workspace, experiment.evaluate.supplement_prompts, splits=("val", "test")).keys
    source = dataclasses.replace(data_source(experiment, workspace, has_supplements=False), supplement_keys=keys)
    scorer = Scorer(encoder, experiment.evaluate, source=source, prompts=experiment.captions.resolved_prompts())
    for name in experiment.evaluate.names():
        scored = scorer.score(name)
        assert scored.num_gallery == 6
        assert 0 <= scored.metrics["t2v/R1"].value <= 100


@pytest.mark.parametrize("preset", [*PRESETS, "msvd-vitb32-ceo", "didemo-vitb32-ceo"])
def test_the_preset_of_the_larger_backbone_is_the_same_method(preset: str) -> None:
    small_file, large_file = (
        CONFIGS / f"{preset.replace('vitb32', backbone)}.toml" for backbone in ("vitb32", "vitb16")
    )
    one, other = (tomllib.loads(path.read_text(encoding="utf-8")) for path in (small_file, large_file))
    assert (one["model"].pop("name"), other["model"].pop("name")) == ("clip-vit-b32", "clip-vit-b16")
    assert (one.pop("name").replace("vitb32", "vitb16")) == other.pop("name")
    assert one == other


@pytest.mark.parametrize("backbone", ["vitb32", "vitb16"])
@pytest.mark.parametrize("method", METHODS)
def test_the_published_figure_is_told_and_not_claimed(method: str, backbone: str) -> None:
    header = (CONFIGS / f"msrvtt-{backbone}-{method}.toml").read_text(encoding="utf-8").split("\n\n")[0]
    assert "not reproduced here" in header.replace("\n# ", " ")
    told = re.search(r"t2v R@1 ([\d.]+)", header)
    assert (told and float(told[1])) == FIGURES.get((method, backbone))


def test_a_shift_of_tokens_reaches_the_tower() -> None:
    encoder = build_dual_encoder(small("msrvtt-vitb32-ts2-net").model)
    assert encoder.token_shift is not None
    assert encoder.head.needs_patches
