"""What Ray workers need to find this package.

A `working_dir` alone does not put `platform/` on a worker's path, and an editable install on the driver's machine hides
that. So on a cluster the package itself is uploaded as a `py_module`; on one machine the path is enough.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import conical

_FORWARDED = ("HF_HUB_OFFLINE", "HF_HOME", "HF_TOKEN", "TRANSFORMERS_OFFLINE", "CONICAL_WORKSPACE")


def build_runtime_env(*, is_cluster: bool) -> dict[str, Any]:
    """The `runtime_env` of `ray.init`.

    Args:
        is_cluster: workers may run on machines, or in environments, that have not got this package.

    Returns:
        With `py_modules` for a cluster, with a `PYTHONPATH` for this machine alone.
    """
    package = Path(conical.__file__).resolve().parent
    variables = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    variables |= {"TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if is_cluster:
        return {"py_modules": [str(package)], "env_vars": variables, "excludes": ["__pycache__"]}
    paths = [str(package.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"env_vars": {**variables, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}}
