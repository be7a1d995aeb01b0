"""`conical evaluate` and `conical compare` on runs, as typed: protocols, families and parts by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conical.cli import common as opening
from conical.cli import main
from conical.store import RunFolder, Workspace, list_runs, manifest_hash, read_manifest
from conical.store.audits import LeakFree, write_leak_free
from unit.runs.scored_runs import small_experiment, write_run, write_workspace


@pytest.fixture(scope="module")
def made(small_clip, tmp_path_factory) -> tuple[Path, Path]:
    """A workspace with two runs of the same weights, and the config they came from."""
    root = tmp_path_factory.mktemp("commands")
    experiment = small_experiment(small_clip, "label=zero-shot", "evaluate.fusion_weights=[0.5]")
    workspace = write_workspace(experiment, root / "workspace")
    for label, rate in (("zero-shot", 0.1), ("other", 0.2)):
        # a rate that nothing is trained with gives each a run of its own
        write_run(experiment.replace({"label": label, "optim.learning_rate": rate}), workspace)
    folder = experiment.dataset.folder
    content = manifest_hash(read_manifest(workspace.manifest(folder)))
    leak_free = LeakFree(video_ids=("test1", "test2"), num_test=8, rules=("r",), manifest_hash=content)
    write_leak_free(workspace.audit(folder), leak_free)
    (root / "config.toml").write_text(experiment.to_toml(), encoding="utf-8")
    return root / "workspace", root / "config.toml"


@pytest.fixture
def conical(made, monkeypatch, capsys):
    """Types a command; gives its exit code and what it printed."""
    workspace, config = made
    monkeypatch.setenv("CONICAL_WORKSPACE", str(workspace))
    monkeypatch.setattr(opening, "divert_chatter", lambda _: None)  # it would take this process's own stderr

    def type_in(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main.run([*words, "--config", str(config)])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return type_in


def runs_of(made) -> dict[str, RunFolder]:
    return {run.read().label: run for run in list_runs(Workspace(made[0]).experiment("demo"))}


def test_what_is_asked_for_is_scored_beside_the_plain_and_the_whole(conical, made) -> None:
    asked = ("--protocol", "captioned-gallery", "--family", "dsl", "--subset", "leak-free")
    code, out, err = conical("evaluate", "zero-shot", *asked)
    assert code == 0, err
    names = {str(name) for name in runs_of(made)["zero-shot"].evaluation_names()}
    assert names == {
        f"{part}/captioned-gallery{family}" for part in ("val", "test", "test-leak-free") for family in ("", ".dsl")
    }
    for shown in ("captioned-gallery", "captioned-gallery.dsl", "test-leak-free"):
        assert shown in out


def test_two_runs_are_compared_in_any_way_they_were_both_scored(conical) -> None:
    assert conical("evaluate", "--protocol", "raw", "--family", "qbnorm")[0] == 0
    code, out, err = conical(
        "compare", "zero-shot", "other", "--direction", "v2t", "--family", "qbnorm", "--metric", "MeanR"
    )
    assert code == 0, err
    # the same weights under two names: nothing differs
    assert "test/raw.qbnorm/v2t/MeanR" in out
    assert "No significant difference between zero-shot and other" in out


@pytest.mark.parametrize(
    "key", ["seed=3", "frames.num_frames=8", "loss.tau_tv=3.0", "captions.captioner=template", "ray.num_workers=2"]
)
@pytest.mark.parametrize("words", [("evaluate",), ("compare", "zero-shot", "other"), ("report",)])
def test_a_setting_that_belongs_to_the_run_is_refused_by_name(conical, words: tuple[str, ...], key: str) -> None:
    code, _, err = conical(*words, "--set", key)
    assert code == 2
    assert f"--set {key.partition('=')[0]} would change nothing: a finished run keeps the settings" in err


def test_two_runs_of_the_same_weights_are_named(conical) -> None:
    assert conical("evaluate")[0] == 0
    code, out, err = conical("compare", "zero-shot", "other")
    assert code == 0, err
    assert "Of the same weights, so that no difference between them comes from training: zero-shot (" in out


def test_a_mistake_is_one_line(conical, made) -> None:
    for words, message in (
        (("evaluate", "--protocol", "captioned"), "evaluate.protocols must be one of raw, captioned-gallery"),
        (
            ("evaluate", "--family", "dls"),
            "evaluate.families must be one of dsl, qbnorm; got 'dls'. Did you mean",
        ),
        (("evaluate", "--protocol", "my_lab:X"), "protocols 'my_lab:X' cannot be imported: No module named 'my_lab'"),
        (("compare", "zero-shot", "other", "--family", "dls"), "was not scored on test/raw.dls, but on "),
        (("compare", "zero-shot", "other", "--family", "DSL"), "family must be lower case letters and digits"),
        (("compare", "zero-shot", "other", "--direction", "t2t"), "direction must be one of t2v, v2t, v2t_any"),
        (("compare", "zero-shot", "other", "--protocol", "paired-supplement"), "was not scored on test/paired-supple"),
    ):
        code, _, err = conical(*words)
        assert (code, err.count("\n")) == (2, 1), err
        assert message in err


def test_a_trial_that_lost_is_scored_on_test_only_by_insisting(conical, made) -> None:
    from conical.store import Sweep, Trial, write_sweep

    workspace, run = Workspace(made[0]), runs_of(made)["other"]
    record = run.read()
    run.write(dataclasses.replace(record, label="trial 0"))
    trials = (
        Trial(number=0, run_key=record.key, settings={}, value=1.0, status="finished", epochs=1),
        Trial(number=1, run_key="winner", settings={}, value=2.0, status="finished", epochs=1),
    )
    path = workspace.experiment("demo") / "sweeps" / "s" / "sweep.json"
    write_sweep(path, Sweep(key="s", metric="val/raw/t2v/R1", tracking_id="t", is_finished=True, trials=trials))
    asked = ("evaluate", record.key, "--protocol", "paired-supplement")
    code, _, err = conical(*asked)
    assert code == 2
    assert "score the winner (conical evaluate winner), or give --allow-trial" in err
    assert conical(*asked, "--allow-trial")[0] == 0
    look = run.read().looks[-1]
    assert (look.name, look.is_forced) == ("test/paired-supplement", True)
