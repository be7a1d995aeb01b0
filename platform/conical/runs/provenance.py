"""What determines a run and where it was made."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import conical
from conical.core.hashing import file_fingerprint, stable_hash

# the rooms that can change a number; all others look for, show or keep what these compute
DETERMINING_ROOMS = (
    *("core", "losses", "metrics", "distributed", "datasets", "video", "captioning", "store", "models", "engine"),
    *("config", "on_ray"),
)


@cache
def code_hash(package: Path = Path(conical.__file__).parent) -> str:
    """Hash of the sources that numbers depend on, so that a result made by other code is not taken for today's.

    Args:
        package: folder of the package.
    """
    files = sorted(path for path in package.rglob("*.py") if path.relative_to(package).parts[0] in DETERMINING_ROOMS)
    return stable_hash([(str(path.relative_to(package)), file_fingerprint(path)) for path in files])


@cache
def git_commit() -> str:
    """Commit of the checkout the package is in, with `-dirty` if files differ; "unknown" outside one."""
    folder = Path(conical.__file__).parent
    try:
        head = _git("rev-parse", "HEAD", cwd=folder)
        return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no", cwd=folder) else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CONICAL_COMMIT", "unknown")


def environment() -> dict[str, str]:
    """Versions and machine facts that may explain a difference."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    packages = ("torch", "ray", "open_clip_torch", "transformers", "av", "mlflow", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": device,
        "commit": git_commit(),
    }


def _git(*words: str, cwd: Path) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()
