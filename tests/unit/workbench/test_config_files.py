"""The files in jobs/configs are the demo's methods, written out."""

from __future__ import annotations

from pathlib import Path

import pytest

from conical.config import Experiment, load_experiment
from conical.on_ray.demo import METHODS
from conical.workbench.docs.config_files import complete_config_files

CONFIGS = Path(__file__).resolve().parents[3] / "jobs" / "configs"


def test_the_demo_config_is_the_default():
    assert load_experiment(CONFIGS / "scenes-demo.toml") == Experiment()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_file(method):
    assert load_experiment(CONFIGS / f"scenes-{method}.toml") == Experiment().replace(METHODS[method])


def test_the_baseline_is_ordinary_infonce():
    loss = Experiment().replace(METHODS["infonce-human"]).loss
    assert (loss.name, loss.denominator, loss.symmetric) == ("info_nce", "all", True)


def test_methods_without_supplements_read_none():
    for method in ("zero-shot", "infonce-human", "ceo-human"):
        assert Experiment().replace(METHODS[method]).mix.sources() == ("human",)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_file_is_complete_and_keeps_its_head(path, tmp_path):
    (tmp_path / path.name).write_text(path.read_text())
    assert complete_config_files(tmp_path) == [tmp_path / path.name]
    assert (tmp_path / path.name).read_text() == path.read_text(), "run: make docs"
    assert path.read_text().startswith("# ")
