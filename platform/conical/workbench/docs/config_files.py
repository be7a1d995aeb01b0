"""The files in jobs/configs are complete: made again whenever a setting is added, their head lines kept."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from conical.config import Experiment, load_experiment
from conical.core.atomic import write_text_atomic
from conical.on_ray.demo import METHODS


def complete_config_files(folder: Path) -> list[Path]:
    """Write every TOML file of a folder anew with all settings; those of the demo's methods from the demo itself.

    Args:
        folder: holds the files; the comment lines at the head of each are kept.

    Returns:
        The files.

    Raises:
        ConfigError: a file is refused as it is.
    """
    methods = {"scenes-demo": Experiment()} | {
        f"scenes-{name}": Experiment().replace(changes) for name, changes in METHODS.items()
    }
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = "\n".join(takewhile(lambda line: line.startswith("#"), lines))
        experiment = methods.get(path.stem) or load_experiment(path)
        write_text_atomic(path, f"{head}\n\n{experiment.to_toml()}")
    return paths
