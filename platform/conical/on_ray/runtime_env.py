"""What Ray workers need to find this package.

A `working_dir` alone does not put `platform/` on a worker's path, and an editable install on the driver's machine hides
that. So on a cluster the package itself is uploaded as a `py_module`; on one machine the path is enough.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import conical

# glibc gives large blocks back at each free and faults them in again at the next step: an epoch takes 10 % longer
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
# no token: a runtime environment is shown on the dashboard and in logs
_FORWARDED = ("HF_HUB_OFFLINE", "HF_HOME", "TRANSFORMERS_OFFLINE", "CONICAL_WORKSPACE")


def build_runtime_env(*, is_cluster: bool) -> dict[str, Any]:
    """The `runtime_env` of `ray.init`; inside a submitted job it holds what the job was given as well.

    Args:
        is_cluster: workers may run on machines, or in environments, that have not got this package.

    Returns:
        With `py_modules` for a cluster, with a `PYTHONPATH` for this machine alone.
    """
    package = Path(conical.__file__).resolve().parent
    variables = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    variables |= {"TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true", **_KEEP_MEMORY}
    if is_cluster:
        given = _given_to_job()
        return {
            "py_modules": [*given.get("py_modules", ()), str(package)],
            "env_vars": variables | given.get("env_vars", {}),
            "excludes": [*given.get("excludes", ()), "__pycache__"],
        }
    paths = [str(package.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"env_vars": {**variables, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}}


def _given_to_job() -> dict[str, Any]:
    """The `runtime_env` that `ray job submit` was given; empty outside a job.

    Ray refuses two values for one field, so ours must contain the job's (and `RAY_OVERRIDE_JOB_RUNTIME_ENV` be set).
    """
    return json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
