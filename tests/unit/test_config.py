"""One experiment as one value: what is taken, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conical.captioning import PromptMix
from conical.config import Experiment, load_experiment, parse_experiment
from conical.config.nested import assign, flatten
from conical.core.errors import ConfigError
from conical.video.recipe import FrameRecipe


@pytest.mark.parametrize("name", ["experiment", "nested"])
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"conical.config.{name}"))
    assert results.attempted > 0
    assert results.failed == 0


def from_sets(*overrides: str) -> Experiment:
    return load_experiment(None, overrides)


def parse(**tables: object) -> Experiment:
    return parse_experiment(tables, origin="x.toml")


def test_no_file_is_the_offline_demo() -> None:
    assert load_experiment(None) == Experiment()
    assert (Experiment().dataset.name, Experiment().model.name, Experiment().frames.size) == ("scenes", "tiny-clip", 64)


def test_a_file_sets_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        "name = 'x'\n[loss]\ntau_tv = 7\n[mix]\nhuman = 1.0\nA = 0\nB = 0\n"
        "[tune.space]\n'loss.tau_tv' = {uniform = [1, 9]}\n"
    )
    read = load_experiment(path)
    assert (read.name, read.loss.tau_tv, read.loss.tau_ta) == ("x", 7.0, Experiment().loss.tau_ta)
    assert dict(read.mix) == {"human": 1.0}
    assert read.tune.space == {"loss.tau_tv": {"uniform": [1, 9]}}
    assert read.optim == Experiment().optim


def test_a_table_with_one_key_keeps_the_demos_other_values(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[frames]\nnum_frames = 8\n[captions.generation]\nseed = 3\n")
    expected = Experiment().replace({"frames.num_frames": 8, "captions.generation.seed": 3})
    assert (expected.frames.size, FrameRecipe().size) == (64, 224), "the demo's own value, not the recipe's"
    assert load_experiment(path) == expected
    assert from_sets("frames={num_frames=8}", "captions={generation={seed=3}}") == expected
    assert parse(frames={"num_frames": 8}, captions={"generation": {"seed": 3}}) == expected
    assert Experiment().replace({"frames": {"num_frames": 8}, "captions": {"generation": {"seed": 3}}}) == expected


def test_a_dictionary_is_one_value(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[mix]\nB = 1.0\n[tune.space]\nseed = {choice = [0, 1]}\n")
    read = load_experiment(path)
    assert dict(read.mix) == {"B": 1.0}
    assert read.tune.space == {"seed": {"choice": [0, 1]}}
    assert dict(read.replace({"mix": {"human": 1.0}}).mix) == {"human": 1.0}
    tagged = from_sets("tracking.tags={a = 'b'}")
    assert tagged.replace({"tracking": {"tags": {"c": "d"}}}).tracking.tags == {"c": "d"}


def test_one_share_of_the_current_mix_is_set(tmp_path: Path) -> None:
    assert dict(from_sets("mix.A=0.2", "mix.mine=0.2").mix) == {"human": 0.4, "A": 0.2, "B": 0.2, "mine": 0.2}
    path = tmp_path / "a.toml"
    path.write_text("[mix]\nhuman = 1.0\n")
    assert dict(load_experiment(path, ["mix.human=0.5", "mix.C=0.5"]).mix) == {"human": 0.5, "C": 0.5}
    assert from_sets("mix.C=0.0") == Experiment(), "a share of 0 is no share"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 3, "frames.num_frames": 8},
        {
            "mix": {"human": 0.5, "Z": 0.5},
            "captions.custom_prompts": {"Z": "Say {caption}."},
            "captions.prompts": ["Z"],
        },
        {"captions.model": "org/model", "tracking.tags": {"a": "b"}, "tune.space": {"seed": {"choice": [0, 1]}}},
    ],
)
def test_the_differences_give_the_experiment_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    experiment = Experiment().replace(changes)
    assert flatten(experiment.differences()) == flatten(nested(changes))
    (tmp_path / "a.toml").write_text(experiment.to_toml(only_differences=True), encoding="utf-8")
    assert load_experiment(tmp_path / "a.toml") == experiment


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in changes.items():
        assign(key, value, into=found, owner=None)
    return found


def test_an_override_of_the_demo_leaves_its_neighbours_as_they_are() -> None:
    read = from_sets("frames.num_frames=8", "loss.tau_ta=3")
    assert read == Experiment().replace({"frames.num_frames": 8, "loss.tau_ta": 3.0})
    assert read.frames.size == Experiment().frames.size


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("seed = 3\n[loss]\ntau_tv = 7\n")
    read = load_experiment(path, ["loss.tau_tv=8"])
    assert (read.seed, read.loss.tau_tv) == (3, 8.0)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("loss.tau_tv=40", "loss.tau_tv", 40.0),
        ("loss.tau_tv = 40.5", "loss.tau_tv", 40.5),
        ("optim.learning_rate=1e-4", "optim.learning_rate", 1e-4),
        ("loss.symmetric=true", "loss.symmetric", True),
        ("name=plain-word", "name", "plain-word"),
        ('name="quoted"', "name", "quoted"),
        ("label=two words = fine", "label", "two words = fine"),
        ('captions.prompts=["B", "A"]', "captions.prompts", ("B", "A")),
        ("mix={human = 1, B = 0}", "mix", PromptMix({"human": 1.0})),
        ("tune.space={seed = {choice = [0, 1]}}", "tune.space", {"seed": {"choice": [0, 1]}}),
        ("tracking.tags={team = 'a'}", "tracking.tags", {"team": "a"}),
        ("captions.model=org/model", "captions.model", "org/model"),
    ],
)
def test_set_takes_numbers_words_lists_and_inline_tables(override: str, path: str, value: object) -> None:
    found: object = from_sets(override)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("override", ["loss.tau_tv", "=3", " = 3"])
def test_a_set_without_key_and_value_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=f"--set takes KEY=VALUE, got {override!r}: for example --set loss.tau_tv=40"):
        from_sets(override)


def test_a_set_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'seed.x' cannot be set: 'seed' is a value, not a table"):
        from_sets("seed=1", "seed.x=2")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # unknown keys, with the nearest one
        ("loss.tau_tvv=40", r"unknown key 'loss.tau_tvv': allowed in \[loss\] are name, .*Did you mean 'tau_tv'\?"),
        ("sed=1", r"unknown key 'sed': allowed are name, label, seed.*Did you mean 'seed'\?"),
        ("captions.generation.max_tokens=3", r"unknown key 'captions.generation.max_tokens'.*max_new_tokens"),
        ("qqq.rrr=1", "unknown key 'qqq': allowed are name"),
        # wrong types
        ("loss.tau_tv=fast", "loss.tau_tv must be a valid number, got 'fast'"),
        ("loss.symmetric=1", "loss.symmetric must be a valid boolean, got 1"),
        ("seed=1.5", "seed must be a valid integer.*got 1.5"),
        ("seed=true", "seed must be a valid integer, got True"),
        ("name=3", "name must be a valid string, got 3"),
        ("loss=3", "loss must be an object, got 3"),
        ("captions.prompts=A", "captions.prompts must be a valid array, got 'A'"),
        ("tune.space={seed = 3}", "tune.space.seed must be an object, got 3"),
        # impossible values, each with its whole path
        ("seed=-1", "seed must be >= 0, got -1"),
        ("name=a/b", "name must be letters, digits, '-', '_' or '.', got 'a/b'"),
        ("loss.tau_tv=400", r"loss.tau_tv must be in \[1, 100\], got 400"),
        ("loss.name=ce", r"loss.name must be one of ceo, info_nce, sigmoid, dmae; got 'ce'.*Did you mean 'ceo'\?"),
        ("optim.batch_size=1", "optim.batch_size must be >= 2"),
        ("optim.batch_size=51", "optim.batch_size must be a multiple of ray.num_workers = 2, got 51"),
        ("optim.epochs=-1", "optim.epochs must be >= 0, got -1"),
        ("frames.size=32", "frames.size must be 64, the side of tiny-clip's images, got 32"),
        ("augment.num_frames=11", "augment.num_frames must be at most frames.num_frames = 10, got 11: lower it"),
        ("dataset.scenes.train=0", "dataset.scenes.train must be >= 1, got 0"),
        ("dataset.name=msrvtt", "dataset.root must be given for 'msrvtt'|dataset: root must be given"),
        ("mix.A=much", "mix.A must be a valid number, got 'much'"),
        ("mix.A=true", "mix.A must be a valid number, got True"),
        ("mix=3", "mix must be an object, got 3"),
        ("mix={human=1.5, A=-0.5}", "mix.A must be between 0 and 1, got -0.5"),
        # no number is endless
        ("loss.tau_tv=inf", "loss.tau_tv must be a finite number, got inf"),
        ("optim.learning_rate=nan", "optim.learning_rate must be a finite number, got nan"),
        ("optim.epochs=-inf", "optim.epochs must be a finite number, got -inf"),
        ("mix.human=nan", "mix.human must be a finite number, got nan"),
        ("evaluate.fusion_weights=[0.0, inf]", "evaluate.fusion_weights.1 must be a finite number, got inf"),
        ("tune.space={seed = {uniform = [0, inf]}}", "tune.space.seed.uniform.1 must be a finite number, got inf"),
        ("mix={human=0.9, A=0.4, B=0.2}", "the probabilities of mix must sum to 1, got 1.5"),
        ('evaluate.protocols=["raww"]', r"evaluate.protocols must be one of raw, .*; got 'raww'.*Did you mean 'raw'\?"),
        ("evaluate.protocols=[]", "evaluate.protocols must name at least one of raw, .*; got none"),
        ('evaluate.families=["dls"]', "evaluate.families must be one of dsl, qbnorm; got 'dls'"),
        ('evaluate.families=["dsl","dsl"]', "evaluate.families must name each once, got dsl, dsl"),
        ('evaluate.subsets=["hard"]', "evaluate.subsets must be one of leak-free; got 'hard'"),
        ("evaluate.splits=[]", "evaluate.splits must name at least one of train, val, test; got none"),
        ("evaluate.gallery_prompts=[]", "evaluate.gallery_prompts must name at least one prompt, got none"),
        ("evaluate.fusion_weights=[1.5]", r"evaluate.fusion_weights must be numbers in \[0, 1\].*got \[1.5\]"),
        ("evaluate.dsl_tau=0", "evaluate.dsl_tau must be > 0, got 0"),
        ("evaluate.qbnorm_beta=0", "evaluate.qbnorm_beta must be > 0, got 0"),
        ("evaluate.qbnorm_k=0", "evaluate.qbnorm_k must be >= 1, got 0"),
        ("evaluate.qbnorm_bank=0", "evaluate.qbnorm_bank must be >= 1, got 0"),
        ("evaluate.num_resamples=10", "evaluate.num_resamples must be >= 100, got 10"),
        ("select_by=val/captioned-gallery/t2v/R1", "select_by must be of protocol raw, got 'val/captioned-gallery"),
        ("select_by=val-leak-free/raw/t2v/R1", "select_by must be of the whole val split, got 'val-leak-free"),
        ("model.name=RN50", "model.weights must be given for 'RN50'"),
        ("tune.num_trials=0", "tune.num_trials must be >= 1, got 0"),
        ("tune.max_concurrent=0", "tune.max_concurrent must be >= 1, got 0"),
        ("tune.scheduler=bands", "tune.scheduler must be one of asha, none; got 'bands'"),
        ("tune.grace_epochs=0", "tune.grace_epochs must be >= 1, got 0"),
        ("tune.reduction_factor=1", "tune.reduction_factor must be >= 2, got 1"),
        ("ray.num_workers=0", "ray.num_workers must be >= 1, got 0"),
        ("ray.cpus_per_worker=0", "ray.cpus_per_worker must be > 0, got 0"),
        ("ray.max_failures=-1", "ray.max_failures must be >= 0, got -1"),
        ("ray.num_captioners=0", "ray.num_captioners must be >= 1, got 0"),
        ("ray.decode_deadline_seconds=0", "ray.decode_deadline_seconds must be > 0, got 0"),
        ("tracking.uri=./mlruns", r"tracking.uri must be an http\(s\) or database address, got './mlruns'"),
        # selection sees val only
        (
            "select_by=test/raw/t2v/R1",
            "select_by must be of the val split, got 'test/raw/t2v/R1': test is scored once",
        ),
        ("select_by=train/raw/t2v/R1", "select_by must be of the val split"),
        ("select_by=val/raw.dsl/t2v/R1", "select_by must not be rescored, got 'val/raw.dsl/t2v/R1'"),
        ("select_by=val/raw/t2v/R@1", "select_by: metric must not hold '@'"),
        ("tune.metric=val/raw/t2v/R1", "unknown key 'tune.metric'"),
        ("select_by=R1", "select_by: a metric name must have the form split/protocol/direction/metric, got 'R1'"),
    ],
)
def test_each_mistake_is_one_line_that_names_path_value_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_sets(override)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the settings: ")


@pytest.mark.parametrize(
    ("key", "draw", "message"),
    [
        ("loss.tau_tv", {"normal": [0, 1]}, "space.loss.tau_tv must be one of uniform, log_uniform, choice, simplex"),
        ("loss.tau_tv", {"uniform": [1, 2], "choice": [1, 2]}, "space.loss.tau_tv must be one of"),
        ("loss.tau_tv", {}, "space.loss.tau_tv must be one of"),
        ("loss.tau_tv", {"uniform": [2, 1]}, "space.loss.tau_tv.uniform must hold two numbers, low < high, got"),
        ("loss.tau_tv", {"uniform": [1]}, "space.loss.tau_tv.uniform must hold two numbers"),
        ("loss.tau_tv", {"uniform": ["a", "b"]}, "space.loss.tau_tv.uniform must hold two numbers"),
        ("loss.tau_tv", {"log_uniform": [0, 1]}, "space.loss.tau_tv.log_uniform must hold two numbers, 0 < low < high"),
        ("loss.tau_tv", {"choice": [1]}, "space.loss.tau_tv.choice must hold at least two values"),
        ("mix", {"simplex": ["human"]}, "space.mix.simplex must hold at least two names of text sources"),
        ("mix", {"uniform": [0, 1]}, "space.mix: `simplex` belongs to `mix` and `mix` to `simplex`"),
        ("loss.tau_tv", {"simplex": ["human", "A"]}, "space.loss.tau_tv: `simplex` belongs to `mix`"),
        ("mix.A", {"uniform": [0, 1]}, r"tune.space.mix.A is not a setting. Did you mean 'mix'\?"),
        ("loss.tau_tx", {"uniform": [1, 2]}, r"tune.space.loss.tau_tx is not a setting. Did you mean 'loss.tau_tv'\?"),
    ],
)
def test_a_draw_that_cannot_be_is_refused(key: str, draw: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(tune={"space": {key: draw}})


def test_every_kind_of_draw_is_taken() -> None:
    space = {
        "loss.tau_tv": {"log_uniform": [1.0, 100.0]},
        "loss.tau_va": {"uniform": [1, 100]},
        "loss.denominator": {"choice": ["all", "negatives"]},
        "mix": {"simplex": ["human", "B"]},
    }
    assert parse(tune={"space": space}).tune.space == space


def test_several_faults_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(loss={"tau_tvv": 1.0}, seed="x")
    assert "loss.tau_tvv" in str(caught.value)
    assert "seed must be" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"gone.toml cannot be read \(No such file or directory\): give the path of a TOML"
    ):
        load_experiment(tmp_path / "gone.toml")


@pytest.mark.parametrize("content", [b"[loss\n", b"seed = \n", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a.toml is not TOML: "):
        load_experiment(tmp_path / "a.toml")


def test_a_fault_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[loss]\ntau_tv = 0\n")
    with pytest.raises(ConfigError, match=r"a.toml: loss.tau_tv must be in \[1, 100\], got 0"):
        load_experiment(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [
            "captions.prompts=['B']",
            "captions.custom_prompts={Z = 'Say {caption}.'}",
            "mix={human=0.5, A=0, B=0.25, Z=0.25}",
        ],
        ["captions.model=org/model", "tracking.tags={a = 'b'}", "label=x", "tune.space={seed = {choice = [0, 1]}}"],
    ],
)
def test_an_experiment_written_as_toml_is_read_as_the_same_one(tmp_path: Path, overrides: list[str]) -> None:
    experiment = from_sets(*overrides)
    (tmp_path / "a.toml").write_text(experiment.to_toml(), encoding="utf-8")
    assert load_experiment(tmp_path / "a.toml") == experiment
    written = tomllib.loads(experiment.to_toml())
    assert written.keys() == {item.name for item in dataclasses.fields(Experiment)}, "a complete file"


def test_replace_sets_dotted_names_and_checks_them() -> None:
    changed = Experiment().replace({"loss.tau_tv": 7.0, "mix.human": 1.0, "mix.A": 0.0, "mix.B": 0.0, "seed": 4})
    assert (changed.loss.tau_tv, changed.mix["human"], changed.seed) == (7.0, 1.0, 4)
    assert changed.optim == Experiment().optim
    with pytest.raises(ConfigError, match=r"the changed settings: loss.tau_tv must be in \[1, 100\], got 700"):
        Experiment().replace({"loss.tau_tv": 700.0})
    with pytest.raises(ConfigError, match=r"unknown key 'loss.tau'"):
        Experiment().replace({"loss.tau": 7.0})


def test_params_are_flat_text_under_the_names_of_set() -> None:
    params = from_sets("loss.tau_tv=7", "tracking.tags={team = 'a'}").params()
    assert all(isinstance(value, str) for value in params.values())
    assert params["loss.tau_tv"] == "7.0"
    assert params["dataset.scenes.train"] == "400"
    assert params["captions.generation.max_new_tokens"] == str(Experiment().captions.generation.max_new_tokens)
    assert params["tracking.tags.team"] == "a"
    assert params["tune.space.loss.tau_tv.log_uniform"] == "[1.0, 100.0]"


def test_a_changed_setting_never_runs_under_anothers_name() -> None:
    mixed = "mix={human=0.4, A=0.4, B=0.2}"
    titles = {
        from_sets(*overrides).title
        for overrides in (
            [mixed],
            [mixed, "loss.name=info_nce"],
            ["mix={human=1.0, A=0, B=0}"],
            [mixed, "optim.epochs=0"],
            [mixed, "label=mine"],
            [mixed, "loss.tau_tv=90.0"],
            [mixed, "loss.tau_tv=90.0", "seed=1"],
            [mixed, "loss.symmetric=true", "optim.learning_rate=1e-5"],
            [mixed, "augment.flip_probability=0.0"],
            [mixed, "captions.captioner=http", "captions.model=org/model"],
            ["mix={human=1.0}", "captions.captioner=http"],
            ["mix={human=1.0}", "loss.name=info_nce", "loss.denominator=negatives"],
        )
    }
    assert titles == {
        "CEO, 0.4 human + 0.4 A + 0.2 B",
        "InfoNCE, 0.4 human + 0.4 A + 0.2 B",
        "CEO, 1 human",
        "tiny-clip as loaded",
        "mine",
        "CEO, 0.4 human + 0.4 A + 0.2 B, tau_tv 90",
        "CEO, 0.4 human + 0.4 A + 0.2 B, symmetric true, learning_rate 1e-05",
        "CEO, 0.4 human + 0.4 A + 0.2 B, augment.flip_probability 0",
        "CEO, 0.4 human + 0.4 A + 0.2 B, captioner http, model org/model",
        "InfoNCE, 1 human, denominator negatives",
    }


@pytest.mark.parametrize(
    ("overrides", "denominator", "symmetric"),
    [
        (["loss.name=info_nce"], "all", True),
        (["loss.name=info_nce", "loss.symmetric=false"], "all", False),
        (["loss.symmetric=false", "loss.name=info_nce"], "all", False),
        (["loss.name=info_nce", "loss.denominator=negatives"], "negatives", True),
        (["loss.name=info_nce", "loss.name=ceo"], "negatives", False),
        (["loss={name='info_nce', symmetric=false}"], "all", False),
    ],
)
def test_a_loss_has_defaults_of_its_own_which_a_user_may_change(
    tmp_path: Path, overrides: list[str], denominator: str, symmetric: bool
) -> None:
    made = [from_sets(*overrides)]
    for name, only_differences in (("whole", False), ("short", True)):
        path = tmp_path / f"{name}.toml"
        path.write_text(made[0].to_toml(only_differences=only_differences), encoding="utf-8")
        made.append(load_experiment(path))
    made.append(Experiment().replace(made[0].differences()))
    made.append(made[0].replace({"seed": 1}))
    assert {(one.loss.denominator, one.loss.symmetric) for one in made} == {(denominator, symmetric)}
    back = made[0].replace({"loss.name": "ceo"}).loss
    assert (back.denominator, back.symmetric) == ("negatives", False)
