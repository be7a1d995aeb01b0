"""What Ray Tune tells the sweep's book. A module of its own: Tune pickles its callbacks by reference to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune import Callback

from conical.runs.sweep_log import open_book


class ForwardToBook(Callback):
    """Holds nothing, so that it survives Tune's pickling; the book has a database connection and could not."""

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Tune has looked for news, several times a second."""
        open_book().poll()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial was launched: its number is its place among the draws, whichever of several starts first."""
        # Tune's tags begin with the place, from 1; an interrupted sweep goes on counting
        open_book().start(trial.config, number=int(trial.experiment_tag.partition("_")[0]) - 1)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """An epoch of a trial."""
        open_book().result(trial.config, json.loads(result["row"]), json.loads(result["steps"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial ran to its end or was stopped early."""
        open_book().end(trial.config, checkpoint=Path(trial.checkpoint.path))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial failed more often than allowed."""
        open_book().end(trial.config, checkpoint=None)
