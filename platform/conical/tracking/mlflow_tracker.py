"""One writer to MLflow: the driver.

SQLite has one writer, so workers report to the driver and only the driver writes; a report is one `log_batch` (one
request a metric takes thirty times as long).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from conical.core.errors import ClusterError, StoreError
from conical.core.hashing import stable_hash
from conical.tracking.view import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_MAX_METRICS = 1000  # of one log_batch, fixed by MLflow's REST API
_MAX_PARAMS = 100
_MAX_PARAM_LENGTH = 6000
_MAX_NAME_LENGTH = 240  # of 250, a mark left out
_MAX_DIGEST_LENGTH = 36
_ILLEGAL = re.compile(r"[^\w\-. :/]", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TrackedDataset:
    """A dataset as MLflow shows it with a run.

    Args:
        name: of the dataset.
        digest: of its content; MLflow keeps 36 characters.
        source: where it comes from, a JSON text.
    """

    name: str
    digest: str
    source: str


class MlflowTracker:
    """Writes runs of one experiment.

    Args:
        uri: MLflow server or database.
        experiment: name of the experiment; made if absent.
        artifacts: folder of artefacts, used when the experiment is made on a database (a server has its own).
    """

    def __init__(self, uri: str, experiment: str, *, artifacts: Path) -> None:
        self.uri = uri
        self.experiment = experiment
        self.artifacts = artifacts
        self._loading: threading.Thread | None = None

    def load(self) -> None:
        """Begin to import MLflow, in a thread: it takes seconds that others can wait in; opens and makes nothing."""
        self._loading = threading.Thread(target=_import_mlflow, args=(self.uri,), daemon=True, name="loading of MLflow")
        self._loading.start()

    @cached_property
    def client(self) -> MlflowClient:
        """The connection, opened when first needed: importing MLflow takes seconds."""
        _quieten()
        if self._loading is not None:
            self._loading.join()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # MLflow lets those of a damaged database through

        try:
            # the first look at a new database makes its tables, which two processes at once do not survive
            with _impatient(), _alone(self.uri):
                client = MlflowClient(tracking_uri=self.uri)
                client.search_experiments(max_results=1)
        except (MlflowException, OSError, SQLAlchemyError) as error:
            raise ClusterError(
                f"MLflow at {self.uri} does not answer ({str(error).splitlines()[0][:200]}): start the server or mend "
                "tracking.uri"
            ) from error
        return client

    @cached_property
    def experiment_id(self) -> str:
        """Identity of the experiment in MLflow.

        Raises:
            StoreError: it was deleted there.
        """
        client = self.client  # opened before the lock, which its own opening takes
        with _alone(self.uri):
            known = client.get_experiment_by_name(self.experiment)
            return self._create_experiment() if known is None else self._known_experiment(known)

    def _create_experiment(self) -> str:
        location = None if self.uri.startswith("http") else (self.artifacts / self.experiment).as_uri()
        return str(self.client.create_experiment(self.experiment, artifact_location=location, tags=experiment_tags()))

    def _known_experiment(self, known: Experiment) -> str:
        """Its id; what the view needs is added where it lacks, what a person changed stays."""
        identity = _checked_id(known)
        for key, value in experiment_tags().items():
            if key not in known.tags:
                self.client.set_experiment_tag(identity, key, value)
        return identity

    def start(
        self,
        name: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
        dataset: TrackedDataset | None = None,
    ) -> str:
        """Make a run and log what it depends on.

        Args:
            name: what the UI calls it.
            parent: run id of the sweep it belongs to.
            dataset: what it reads.

        Returns:
            The run id.

        Raises:
            StoreError: MLflow refuses it; nothing of the run is left.
        """
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        nested = {"mlflow.parentRunId": parent} if parent else {}
        run_id = str(self.client.create_run(self.experiment_id, run_name=name, tags=nested).info.run_id)
        rows = [Param(legal_name(key), value[:_MAX_PARAM_LENGTH]) for key, value in params.items()]
        try:
            for first in range(0, len(rows), _MAX_PARAMS):
                self.client.log_batch(run_id, params=rows[first : first + _MAX_PARAMS])
            if dataset is not None:
                self._log_dataset(run_id, dataset)
            # last, the key among them: a run that was cut short here is never found, and so never adopted as whole
            self.tag(run_id, tags)
        except MlflowException as error:
            self.client.set_terminated(run_id, status="FAILED")
            self.client.delete_run(run_id)
            reason = str(error).splitlines()[0][:200]
            raise StoreError(f"MLflow refuses run {name!r} ({reason}): mend the setting or tag it names") from error
        return run_id

    def _log_dataset(self, run_id: str, dataset: TrackedDataset) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

        found = Dataset(
            name=dataset.name,
            digest=dataset.digest[:_MAX_DIGEST_LENGTH],
            source_type="conical",
            source=dataset.source,
        )
        context = InputTag(MLFLOW_DATASET_CONTEXT, "train, val, test")
        self.client.log_inputs(run_id, [DatasetInput(found, tags=[context])])

    def has(self, run_id: str) -> bool:
        """Whether the run exists and was not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    def find(self, key: str) -> str | None:
        """A run tagged `conical.key = key` that was not deleted."""
        filter_string = f"tags.`conical.key` = '{key}'"
        matches = self.client.search_runs([self.experiment_id], filter_string=filter_string, max_results=1)
        return str(matches[0].info.run_id) if matches else None

    def find_running(self, key: str) -> str | None:
        """A run tagged `conical.key = key` that was never ended: its process died before it wrote down the run's id."""
        filter_string = f"attributes.status = 'RUNNING' and tags.`conical.key` = '{key}'"
        matches = self.client.search_runs([self.experiment_id], filter_string=filter_string, max_results=1)
        return str(matches[0].info.run_id) if matches else None

    def last_step(self, run_id: str, metric: str) -> int:
        """Last step a metric was logged at; -1 if it never was."""
        return max((point.step for point in self.client.get_metric_history(run_id, metric)), default=-1)

    def log(self, run_id: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics: (step, name to value) a row, all in one request where they fit."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for step, row in rows for name, value in row.items()]
        for first in range(0, len(metrics), _MAX_METRICS):
            self.client.log_batch(run_id, metrics=metrics[first : first + _MAX_METRICS])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(legal_name(key), value) for key, value in tags.items()])

    def log_files(self, run_id: str, folder: Path, *, under: str) -> None:
        """Store the files of a folder as artefacts below `under`, or at the top where that is ""."""
        self.client.log_artifacts(run_id, str(folder), artifact_path=under or None)

    def log_text(self, run_id: str, text: str, *, path: str) -> None:
        """Store a text as an artefact."""
        self.client.log_text(run_id, text, path)

    def finish(self, run_id: str, *, status: str = "FINISHED") -> None:
        """End a run; status is `FINISHED`, `FAILED` or `KILLED`."""
        self.client.set_terminated(run_id, status=status)

    def running(self) -> list[str]:
        """Ids of runs that are not ended."""
        running = self.client.search_runs([self.experiment_id], filter_string="attributes.status = 'RUNNING'")
        return [str(run.info.run_id) for run in running]


def _import_mlflow(uri: str) -> None:
    _quieten()
    import mlflow

    if uri.startswith("sqlite:"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def legal_name(name: str) -> str:
    """A name that MLflow takes for a param, metric or tag: as it is where it may be, else with a mark of what it was.

    >>> legal_name("mix.A"), legal_name("mix.Q&A")
    ('mix.A', 'mix.Q_A-657b')
    """
    plain = _ILLEGAL.sub("_", name)[:_MAX_NAME_LENGTH]
    # a path-like name must not climb or begin at the root
    plain = "/".join(part if part.strip(".") else "_" for part in plain.split("/"))
    return name if plain == name else f"{plain}-{stable_hash(name, length=4)}"


def check() -> str:
    """Write and read one run in a throw-away SQLite database; for `conical doctor`.

    Returns:
        The MLflow version.

    Raises:
        ConicalError: MLflow does not work here.
    """
    _quieten()
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        tracker = MlflowTracker(f"sqlite:///{folder}/mlflow.db", "doctor", artifacts=Path(folder))
        run_id = tracker.start("doctor", params={"a": "1"}, tags={})
        tracker.log(run_id, [(0, {"test/t2v R1": 1.0})])
        tracker.finish(run_id)
        if tracker.client.get_run(run_id).data.metrics != {"test/t2v R1": 1.0}:
            raise StoreError("MLflow did not give back the metric it was given: reinstall mlflow")
    return str(mlflow.__version__)


def _checked_id(experiment: Experiment) -> str:
    if experiment.lifecycle_stage != "active":
        raise StoreError(
            f"experiment {experiment.name!r} was deleted in MLflow: restore it (mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}), or give the config another name"
        )
    return str(experiment.experiment_id)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other processes of this machine away from a SQLite database that may be new; a server sees to it itself."""
    path = uri.removeprefix("sqlite:///")
    if path == uri or not Path(path).parent.is_dir():
        yield
        return
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow tries a server for minutes: right for a hiccup midway, wrong for a mistyped address."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    is_ours = name not in os.environ
    os.environ.setdefault(name, "0")
    try:
        yield
    finally:
        if is_ours:
            del os.environ[name]


def _quieten() -> None:
    """MLflow tells every step of its database migration on the terminal; it goes to the log level that nobody reads."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # read when MLflow sets its loggers up, at import
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
