"""Where everything lies: the one place that knows the names inside a workspace."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conical.core.errors import StoreError

ENVIRONMENT_VARIABLE = "CONICAL_WORKSPACE"


@dataclass(frozen=True)
class Workspace:
    """A folder with the layout of the README."""

    root: Path

    @classmethod
    def open(cls, path: str | Path | None = None) -> Workspace:
        """The given folder, else `CONICAL_WORKSPACE`, else `./workspace`; made if absent and tried for writing.

        Inside the unpacked upload of a Ray job `./workspace` would vanish with the job, so there the default is
        `~/conical-workspace`.

        Raises:
            StoreError: it cannot be made or written.
        """
        chosen = Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or _default_root()).expanduser().absolute()
        try:
            chosen.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=chosen, prefix=".writable-"):
                pass
        except OSError as error:
            raise StoreError(
                f"workspace {chosen} cannot be written ({error.strerror}): "
                f"set {ENVIRONMENT_VARIABLE} to a folder you own"
            ) from error
        return cls(chosen)

    def dataset(self, folder: str) -> Path:
        """Folder of one dataset."""
        return self.root / "datasets" / folder

    def manifest(self, folder: str) -> Path:
        """A dataset's manifest."""
        return self.dataset(folder) / "manifest.parquet"

    def dataset_book(self, folder: str) -> Path:
        """What a dataset's import counted."""
        return self.dataset(folder) / "dataset.json"

    def frames(self, folder: str, recipe_hash: str) -> Path:
        """A dataset's frame store for one recipe."""
        return self.dataset(folder) / "frames" / recipe_hash

    def captions(self, folder: str) -> Path:
        """A dataset's caption ledger."""
        return self.dataset(folder) / "captions"

    def audit(self, folder: str) -> Path:
        """What an audit of a dataset found."""
        return self.dataset(folder) / "audit"

    @property
    def experiments(self) -> Path:
        """A folder per experiment."""
        return self.root / "experiments"

    def experiment(self, name: str) -> Path:
        """Runs and sweeps of one experiment."""
        return self.experiments / name

    @property
    def cache(self) -> Path:
        """Derived files that may be deleted at any time."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """What libraries have to say, kept away from the terminal."""
        return self.root / "logs"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database.

        Raises:
            StoreError: the workspace lies where MLflow would put the database beside it.
        """
        odd = sorted({character for character in str(self.root) if character in "?#%"})
        if odd:
            raise StoreError(
                f"workspace {self.root} holds {' and '.join(odd)} in its path, which MLflow reads as an address: "
                f"set {ENVIRONMENT_VARIABLE} to a folder without it"
            )
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """MLflow's artefacts."""
        return self.root / "mlartifacts"


def _default_root() -> Path:
    here = Path.cwd()
    is_job_upload = any(part.startswith("_ray_pkg_") for part in here.parts)
    return Path.home() / "conical-workspace" if is_job_upload else here / "workspace"
