"""Errors of Ray as one line. The texts are those that Ray 2.60 gave for processes that took too much memory."""

from __future__ import annotations

import pickle

import pytest
import ray.exceptions

from conical.core.errors import ClusterError, ConicalError, DataError
from conical.on_ray import failures

MONITOR = """2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2) \
was 8.74GB used / 23.54GB limit (0.371340)
OOM kill reason: Memory usage 8598749184B exceeded threshold of 8596732928B (34.0% of 25276063744B limit)
Object store memory usage: [- objects spillable: 1
- bytes spillable: 1964]
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Task: job ID=01000000, lease ID=01, task name=RayTrainWorker.__init__, required resources={}, \
pid=4504, actual memory used=4.10GB, worker ID=04a8)
Selected to kill: (Actor(09f8): job ID=01000000, lease ID=00, task name=TrainController.__init__, \
required resources={}, pid=4168, actual memory used=0.37GB, worker ID=19fa)
]
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/en/latest/. Consider more."""
RESTARTED = "The actor a29d is unavailable: The actor is temporarily unavailable: IOError: The actor was restarted."
SIGKILL = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: RayTrainWorker\nWorker unexpectedly exits "
    "with a connection error code 2. End of file. There are some potential root causes. (1) The process is killed by "
    "SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called."
)
GPU = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.25 GiB of which 10.94 MiB is "
    "free. Process 1 has 79.23 GiB memory in use."
)


class Died(ray.exceptions.RayActorError):
    """As Ray raises it, with a text of ours."""

    def __init__(self, text: str) -> None:
        super().__init__(actor_id="a29d", error_msg=text)


class FailedError(Exception):
    """As Ray Train raises it: with the ranks' own errors beside it."""

    def __init__(self, *ranks: Exception) -> None:
        super().__init__("Training failed due to worker errors:\n" + "\n".join(map(str, ranks)))
        self.worker_failures = dict(enumerate(ranks))


def caused(error: Exception, cause: Exception) -> Exception:
    """As Ray Tune gives it."""
    error.__cause__ = cause
    return error


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_memory_kills", lambda since: [])


def said(error: Exception) -> ConicalError:
    found = failures.explain(error, stage="training", lower="optim.batch_size", since=0.0)
    assert "\n" not in str(found)
    assert "documentation" not in str(found)
    assert type(pickle.loads(pickle.dumps(found))) is type(found)
    return found


WHOLE = (
    "training ran out of memory (8.74 GB of the machine's 23.54 GB in use, where Ray ends workers at 34 %; ended: "
    "RayTrainWorker.__init__ with 4.10 GB, TrainController.__init__ with 0.37 GB): lower optim.batch_size, end other "
    "programs, or use a larger machine; run it again, and it goes on from what is finished"
)


@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.OutOfMemoryError(MONITOR),
        FailedError(Died(SIGKILL), ray.exceptions.OutOfMemoryError(MONITOR)),
        caused(RuntimeError("The actor died"), ray.exceptions.OutOfMemoryError(MONITOR)),
    ],
)
def test_a_kill_of_rays_memory_monitor_says_how_much_of_how_much_and_what_to_lower(error: Exception) -> None:
    assert str(said(error)) == WHOLE


def test_an_actor_that_was_restarted_is_explained_by_what_ray_wrote_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_memory_kills", lambda since: [MONITOR])
    assert str(said(Died(RESTARTED))) == WHOLE
    # an error of the code is not blamed on memory that ran out before
    assert str(said(ValueError("a bug"))).startswith("training failed (a bug): see logs/ray.log")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            FailedError(RuntimeError(GPU)),
            "training ran out of memory (a GPU of 79.25 GiB, 10.94 MiB of it free): lower",
        ),
        (FailedError(RuntimeError("CUDA error: out of memory")), "training ran out of memory (of a GPU): lower"),
        (
            FailedError(MemoryError("MemoryError")),
            "training ran out of memory (the system refused a worker more of it):",
        ),
        (
            Died(SIGKILL),
            "training lost a worker: its process was killed, by the system where memory runs out or by hand, or",
        ),
        (Died(RESTARTED), "training lost a worker: its process was killed"),
        (
            Died("The actor died because of an error raised in its creation task, x\nKeyError: 'a'"),
            "training failed (Key",
        ),
        (RuntimeError(""), "training failed (RuntimeError): see logs/ray.log in the workspace"),
        (RuntimeError("first\n  last line  \n\n"), "training failed (last line): see logs/ray.log"),
    ],
)
def test_other_ends_are_one_line_each(error: Exception, expected: str) -> None:
    found = said(error)
    assert isinstance(found, ClusterError)
    assert str(found).startswith(expected)


def test_the_users_own_mistake_comes_through() -> None:
    assert said(FailedError(RuntimeError("x"), DataError("split 'val' is empty"))).args == ("split 'val' is empty",)
