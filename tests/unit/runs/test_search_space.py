"""From draws to settings: a uniform point on the simplex, and the experiment's own settings as the first draw."""

from __future__ import annotations

import numpy as np
import pytest

from conical.config import Experiment, load_experiment
from conical.config.nested import flatten
from conical.on_ray.tune import _to_ray_space as to_ray_space
from conical.runs.search_space import starting_point, to_settings

SOURCES = ["human", "A", "B", "C"]
SIMPLEX = {"mix": {"simplex": SOURCES}}


def shares(uniforms: np.ndarray) -> np.ndarray:
    """Shares (draw, source) of uniforms (draw, source)."""
    drawn = [dict(zip([f"mix~{name}" for name in SOURCES], row, strict=True)) for row in uniforms.tolist()]
    settings = [to_settings(draw, SIMPLEX) for draw in drawn]
    return np.array([[setting["mix"][name] for name in SOURCES] for setting in settings])


def test_two_equal_uniforms_share_equally() -> None:
    settings = to_settings({"mix~human": 0.25, "mix~B": 0.25}, {"mix": {"simplex": ["human", "B"]}})
    assert settings == {"mix": {"human": 0.5, "B": 0.5}}


def test_shares_by_hand() -> None:
    # -log(exp(-3)) = 3 and -log(exp(-1)) = 1
    settings = to_settings({"mix~human": np.exp(-3), "mix~A": np.exp(-1)}, {"mix": {"simplex": ["human", "A"]}})
    assert settings["mix"] == {"human": pytest.approx(0.75), "A": pytest.approx(0.25)}


def test_draws_are_uniform_on_the_simplex() -> None:
    found = shares(np.random.default_rng(0).uniform(1e-6, 1, (4000, 4)))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    assert (found >= 0).all()
    # uniform on the simplex of 4 is Dirichlet(1, 1, 1, 1): mean 1/4, variance 3/80, share above 1/2 with (1/2)^3
    np.testing.assert_allclose(found.mean(axis=0), 0.25, atol=0.015)
    np.testing.assert_allclose(found.var(axis=0), 3 / 80, atol=0.004)
    np.testing.assert_allclose((found > 0.5).mean(axis=0), 1 / 8, atol=0.02)


def test_the_ends_of_the_interval_are_settings_too() -> None:
    assert shares(np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])).tolist() == [[0.25] * 4, [1, 0, 0, 0]]


def test_every_draw_is_an_experiment() -> None:
    experiment = Experiment()
    for row in np.random.default_rng(1).uniform(1e-6, 1, (50, 4)).tolist():
        drawn = dict(zip([f"mix~{name}" for name in SOURCES], row, strict=True))
        drawn |= {"loss.tau_tv": 3.0, "loss.tau_ta": 4.0, "loss.tau_va": 5.0}
        changed = experiment.replace(to_settings(drawn, experiment.tune.space))
        assert (changed.loss.tau_tv, changed.loss.tau_ta, changed.loss.tau_va) == (3.0, 4.0, 5.0)


def test_a_drawn_mix_replaces_the_whole_one_with_any_prompt_alike() -> None:
    settings = to_settings({"mix~human": 0.5, "mix~Z": 0.5}, {"mix": {"simplex": ["human", "Z"]}})
    changed = load_experiment(None, ["captions.custom_prompts={Z = 'Say what moves.'}"]).replace(settings)
    assert dict(changed.mix) == {"human": 0.5, "Z": 0.5}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss.tau_tv=1", "loss.tau_ta=100"],
        ["mix={human=1.0, A=0.0, B=0.0}"],
        ["mix={human=0.1, A=0.2, B=0.3, C=0.4}"],
        ["tune.space={'loss.denominator'={choice=['all', 'negatives']}, 'optim.learning_rate'={uniform=[0.0, 0.1]}}"],
    ],
)
def test_the_first_draw_gives_the_experiments_own_settings(overrides: list[str]) -> None:
    experiment = load_experiment(None, overrides)
    settings = to_settings(starting_point(experiment), experiment.tune.space)
    own = flatten(experiment.to_dict())
    for name, value in flatten(settings).items():
        # a source of the search that the experiment does not take has no share in it
        assert value == pytest.approx(own.get(name, 0.0), abs=1e-9), name


def test_a_setting_outside_its_interval_is_left_to_the_searcher() -> None:
    space = "tune.space={'loss.tau_tv'={uniform=[1.0, 9.0]}, 'loss.tau_ta'={uniform=[1.0, 90.0]}}"
    experiment = load_experiment(None, [space, "loss.tau_tv=50", "loss.tau_ta=50"])
    assert starting_point(experiment) == {"loss.tau_ta": 50.0}


def test_ray_draws_inside_the_intervals() -> None:
    space = {
        "loss.tau_tv": {"log_uniform": [1.0, 100.0]},
        "loss.tau_ta": {"uniform": [2.0, 3.0]},
        "seed": {"choice": [7, 8]},
        **SIMPLEX,
    }
    domains = to_ray_space(space)
    assert list(domains) == ["loss.tau_tv", "loss.tau_ta", "seed", *(f"mix~{name}" for name in SOURCES)]
    drawn = {name: np.array(domain.sample(size=400)) for name, domain in domains.items()}
    assert drawn["loss.tau_tv"].min() >= 1
    assert drawn["loss.tau_tv"].max() <= 100
    # half of a log-uniform on [1, 100] lies below 10
    assert 0.4 < (drawn["loss.tau_tv"] < 10).mean() < 0.6
    assert 2 <= drawn["loss.tau_ta"].min() < drawn["loss.tau_ta"].max() <= 3
    assert set(drawn["seed"]) == {7, 8}
    assert all(0 < drawn[f"mix~{name}"].min() < drawn[f"mix~{name}"].max() <= 1 for name in SOURCES)
