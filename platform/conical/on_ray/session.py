"""Start or join Ray, quietly."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from conical import __version__
from conical.core.errors import ClusterError
from conical.core.progress import Activity, Report, no_report
from conical.on_ray.address import ray_address, refuse_long_socket_paths
from conical.on_ray.runtime_env import build_runtime_env

_CHATTY = ("ray", "ray.data", "ray.train", "ray.tune", "ray.serve", "optuna")


def connect(logs: Path, report: Report = no_report) -> None:
    """Join the cluster of `RAY_ADDRESS`, or one that runs on this machine, or start Ray here; once a process.

    The dashboard is on: with Train V2 inside Tune a trial that is stopped frees its resources only then.

    Args:
        logs: folder for what Ray has to say.
        report: told when Ray has to be started or joined.

    Raises:
        ClusterError: `RAY_ADDRESS` names no cluster that answers, or Ray cannot start here; one line.
    """
    prepare_environment()
    import ray
    from ray.job_config import JobConfig

    _send_chatter_to(logs / "ray.log")
    if ray.is_initialized():
        return
    report(Activity(stage="ray", doing="starting Ray here, or joining the one that runs"))
    address = ray_address()
    if address is None:
        refuse_long_socket_paths()
        # nobody takes this machine away: an actor less
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    common["job_config"] = JobConfig(metadata={"workspace": str(logs.parent), "conical": __version__})
    environment = build_runtime_env(is_cluster=address is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Ray announces changes of accelerator variables at each start
        try:
            if address is not None:
                ray.init(address=address, runtime_env=environment, **common)
            else:
                ray.init(address="local", runtime_env=environment, include_dashboard=True, **common)
        except Exception as error:  # Ray raises plain ones too, such as for a node that is not up within 30 s
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"Ray at {address or 'this machine'} cannot be used ({reason[:300]}): look with 'conical doctor', end "
                "other programs if the machine is busy, mend RAY_ADDRESS if it is wrong, and run it again"
            ) from error


def prepare_environment() -> None:
    """Settings that Ray reads at import or start."""
    # a stray ~/.ray/auth_token would switch token auth on for half of Ray's commands
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # ours holds what the job was given: see `build_runtime_env`
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # ranks and trials keep the folder that the command runs in: paths of models in a config may be relative to it
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    # Ray repeats a task that its memory monitor ends for ever
    os.environ.setdefault("RAY_task_oom_retries", "3")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Tune's own handler of Ctrl-C returns as if the sweep had ended: half a sweep would be taken for a whole one
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")


class _Chatter(logging.Handler):
    """Opens its file for each line: Ray's own set-up of loggers drops the handlers of others without closing them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self.format(record) + "\n")


def _send_chatter_to(path: Path) -> None:
    """Give Ray's loggers a file instead of the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in _CHATTY:
        logger = logging.getLogger(name)
        if any(isinstance(handler, _Chatter) and handler.path == path for handler in logger.handlers):
            continue
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()  # Ray's own file
        logger.addHandler(_Chatter(path))
        logger.propagate = False
        logger.setLevel(logging.INFO)


def silence_data_bars() -> None:
    """Ray Data draws nested bars in every process; ours is the only line."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
