"""Start or join Ray, quietly."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from pathlib import Path
from typing import Any

from conical.core.errors import ClusterError
from conical.core.progress import Activity, Report, no_report
from conical.on_ray.runtime_env import build_runtime_env

_CHATTY = ("ray", "ray.data", "ray.train", "ray.tune", "ray.serve", "optuna")


def connect(logs: Path, report: Report = no_report) -> None:
    """Join the cluster of `RAY_ADDRESS`, or one that runs on this machine, or start Ray here; once a process.

    The dashboard is on: with Train V2 inside Tune a trial that is stopped frees its resources only then.

    Args:
        logs: folder for what Ray has to say.
        report: told when Ray has to be started or joined.

    Raises:
        ClusterError: the cluster does not answer.
    """
    _prepare_environment()
    import ray

    _send_chatter_to(logs / "ray.log")
    if ray.is_initialized():
        return
    report(Activity(stage="ray", doing="starting Ray here, or joining the one that runs"))
    asked = os.environ.get("RAY_ADDRESS")
    address = asked or _running_cluster()
    is_cluster = address not in (None, "local")
    if asked and is_cluster and not _answers(asked):
        raise ClusterError(
            f"Ray at {asked} (RAY_ADDRESS) does not answer: start it with 'ray start --head', mend the address, or "
            "unset RAY_ADDRESS to run on this machine alone"
        )
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    environment = build_runtime_env(is_cluster=is_cluster)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Ray announces changes of accelerator variables at each start
        try:
            if is_cluster:
                ray.init(address=address, runtime_env=environment, **common)
            else:
                ray.init(address="local", runtime_env=environment, include_dashboard=True, **common)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ClusterError(
                f"Ray at {address or 'this machine'} cannot be used ({reason[:200]}): start it with 'ray start "
                "--head', mend RAY_ADDRESS, or unset it to run on this machine alone"
            ) from error


def _running_cluster() -> str | None:
    """Address of a cluster that `ray start` left on this machine, if it still answers."""
    from ray._private.services import find_bootstrap_address

    address = find_bootstrap_address(None)
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    """Whether something listens at host:port (Ray would try for a minute); other forms are Ray's to judge."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _prepare_environment() -> None:
    """Settings that Ray reads at import or start."""
    # a stray ~/.ray/auth_token would switch token auth on for half of Ray's commands
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # ours holds what the job was given: see `build_runtime_env`
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
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
