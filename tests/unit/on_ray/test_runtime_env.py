"""What workers are given to find the package, and what they are not given."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import conical
from conical.on_ray.runtime_env import build_runtime_env

PACKAGE = Path(conical.__file__).resolve().parent


def test_a_cluster_is_sent_the_package_itself() -> None:
    environment = build_runtime_env(is_cluster=True)
    assert environment["py_modules"] == [str(PACKAGE)]
    # a module named by its file would arrive without the rest of the package
    assert (PACKAGE / "__init__.py").is_file()
    assert "__pycache__" in environment["excludes"]
    # a path of this machine means nothing on another
    assert "PYTHONPATH" not in environment["env_vars"]


def test_what_a_job_was_given_is_kept_and_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "working_dir": "gcs://upload.zip",
        "py_modules": ["gcs://plugin.zip"],
        "excludes": ["data"],
        "env_vars": {"CONICAL_WORKSPACE": "/job", "OTHER": "1"},
    }
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": given, "metadata": {}}))
    monkeypatch.setenv("CONICAL_WORKSPACE", "/head")
    environment = build_runtime_env(is_cluster=True)
    assert environment["py_modules"] == ["gcs://plugin.zip", str(PACKAGE)]
    assert environment["excludes"] == ["data", "__pycache__"]
    assert environment["env_vars"]["CONICAL_WORKSPACE"] == "/job"
    assert environment["env_vars"]["OTHER"] == "1"
    assert "working_dir" not in environment, "Ray takes it from the job itself"


def test_a_job_that_was_given_nothing_is_as_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = build_runtime_env(is_cluster=True)
    for config in ({}, {"runtime_env": None}, {"runtime_env": {}}):
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(config))
        assert build_runtime_env(is_cluster=True) == outside


def test_on_this_machine_the_path_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere", str(PACKAGE.parent)]))
    environment = build_runtime_env(is_cluster=False)
    assert "py_modules" not in environment
    assert environment["env_vars"]["PYTHONPATH"].split(os.pathsep) == [str(PACKAGE.parent), "/elsewhere"]


def test_without_a_pythonpath_the_package_alone_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert build_runtime_env(is_cluster=False)["env_vars"]["PYTHONPATH"] == str(PACKAGE.parent)


@pytest.mark.parametrize("is_cluster", [True, False])
def test_workers_get_named_variables_and_no_other_secret(monkeypatch: pytest.MonkeyPatch, is_cluster: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CONICAL_WORKSPACE", "/shared/workspace")
    monkeypatch.delenv("HF_HOME", raising=False)
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
    variables = build_runtime_env(is_cluster=is_cluster)["env_vars"]
    assert (variables["HF_HUB_OFFLINE"], variables["CONICAL_WORKSPACE"]) == ("1", "/shared/workspace")
    assert "HF_HOME" not in variables
    assert "s3cret" not in variables.values()
    assert variables["TOKENIZERS_PARALLELISM"] == "false"
