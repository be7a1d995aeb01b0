"""The files in jobs/configs say what differs from the defaults; those of the demo's methods say what the demo says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from conical.config import Experiment, load_experiment
from conical.on_ray.demo import METHODS

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"


def test_the_demo_config_is_the_default() -> None:
    assert load_experiment(CONFIGS / "scenes-demo.toml") == Experiment()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_file(method: str) -> None:
    assert load_experiment(CONFIGS / f"scenes-{method}.toml") == Experiment().replace(METHODS[method].changes)


def test_the_baseline_is_ordinary_infonce() -> None:
    loss = Experiment().replace(METHODS["infonce-human"].changes).loss
    assert (loss.name, loss.denominator, loss.symmetric) == ("info_nce", "all", True)


def test_methods_without_supplements_read_none() -> None:
    for method in ("zero-shot", "infonce-human", "ceo-human"):
        assert Experiment().replace(METHODS[method].changes).mix.sources() == ("human",)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_no_line_of_a_file_equals_its_default(path: Path) -> None:
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    assert written == load_experiment(path).differences()
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_a_line_that_equals_its_default_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[frames]\nnum_frames = 8\nsize = 64\n", encoding="utf-8")
    assert load_experiment(path).differences() == {"frames": {"num_frames": 8}}
    assert tomllib.loads(path.read_text(encoding="utf-8")) != load_experiment(path).differences()
