"""How ranks and trials tell the driver how they fare: workers put, the driver takes.

Only the driver writes to MLflow and to the terminal. The mailbox is an actor without a CPU of its own.
"""

from __future__ import annotations

from typing import Any

import ray

_ANSWER_SECONDS = 5.0


class Mailbox:
    """Keeps messages in order until they are taken."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []

    def put(self, message: dict[str, Any]) -> None:
        """Add a message."""
        self._messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        """All messages since the last call."""
        taken, self._messages = self._messages, []
        return taken


def open_mailbox(name: str) -> Any:
    """A handle of a new mailbox, which lives until it is killed. Ray must be running.

    Ray's memory monitor may end it like any worker: it starts again, empty. Whoever reads it must bear a gap.

    Args:
        name: what Ray's dashboard calls it, unique among those that are open.
    """
    options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 4, "max_restarts": -1}
    return ray.remote(**options)(Mailbox).options(name=name).remote()


def ask(answer: Any) -> Any:
    """What a mailbox answers; None if it does not, because Ray's memory monitor ended it: it must never hold up a run.

    Args:
        answer: of a call of its `put` or `take`.
    """
    try:
        return ray.get(answer, timeout=_ANSWER_SECONDS)
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError, ray.exceptions.GetTimeoutError):
        return None
