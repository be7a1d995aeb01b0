"""Everything a run needs to go on as if nothing had happened.

A checkpoint folder holds `model.safetensors` (the objective as it is), `optimiser.pt` (tensors only, loaded with
`weights_only`), `average.safetensors` if a moving average is kept, and `state.json`. In `best/` stands the encoder that
scored best on val so far, in the files of a run's folder: `encoder.safetensors`, `head.safetensors` if there is more
than the CLIP, `val_ranking.npz` if its ranks are kept. Batches, rates and random numbers are functions of the step
(`batches`, `optimiser`, `loop`), so no generator or scheduler state is needed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conical.core.atomic import write_text_atomic
from conical.core.errors import StoreError
from conical.engine.moving_average import MovingAverage
from conical.engine.objective import Objective
from conical.models.weight_files import read_encoder_state, save_encoder
from conical.store import RankedQueries, RunFolder
from conical.store.runs import BEST

_AVERAGE = "average.safetensors"

@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where a run stands.

    Args:
        steps_done: optimiser steps behind it.
        best_epoch: where it scored best on val, counted in epochs (0: as loaded; 1.5: in the middle of the second).
        best_value: that value; None before the first.
        since_best: scorings of val after that one.
        unreported: step metrics since the last scoring.
    """

    steps_done: int = 0
    best_epoch: float = 0.0
    best_value: float | None = None
    since_best: int = 0
    unreported: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """The encoder that scored best on val so far.

    Args:
        weights: its state, on the CPU.
        ranked: its ranks on val by the direction that is selected on; None where they are not kept.
    """

    weights: dict[str, Tensor]
    ranked: RankedQueries | None = None

    def __repr__(self) -> str:
        return f"Best(tensors={len(self.weights)}, ranked={self.ranked})"


def save_checkpoint(
    folder: Path,
    *,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    best: Best,
    state: RunState,
) -> None:
    """Write a whole checkpoint; `state.json` comes last, so a folder without it is not one."""
    folder.mkdir(parents=True, exist_ok=True)
    state_now = {name: tensor.detach().cpu().contiguous() for name, tensor in objective.state_dict().items()}
    save_file(state_now, folder / "model.safetensors")
    kept = RunFolder(folder / BEST)
    save_encoder(objective.encoder, kept.encoder, state=best.weights)
    if best.ranked is not None:
        best.ranked.write(kept.val_ranking)
    torch.save(optimiser.state_dict(), folder / "optimiser.pt")
    if average is not None:
        save_file({name: tensor.cpu() for name, tensor in average.state_dict().items()}, folder / _AVERAGE)
    write_text_atomic(folder / "state.json", json.dumps(asdict(state)))


def load_checkpoint(
    folder: Path, *, objective: Objective, optimiser: torch.optim.Optimizer, average: MovingAverage | None
) -> tuple[Best, RunState]:
    """Restore the objective, the optimiser and the average in place.

    Returns:
        The best encoder so far and where the run stands.

    Raises:
        StoreError: the folder holds no whole checkpoint.
    """
    state_file = folder / "state.json"
    if not state_file.is_file():
        raise StoreError(
            f"{folder} holds no whole checkpoint (state.json is absent): delete the folder and train again"
        )
    try:
        objective.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError) as error:
        raise StoreError(f"checkpoint {folder} cannot be loaded ({str(error).splitlines()[0]}): train again") from error
    if average is not None:
        average.load_state_dict(load_file(folder / _AVERAGE))
    optimiser.load_state_dict(torch.load(folder / "optimiser.pt", map_location="cpu", weights_only=True))
    kept = RunFolder(folder / BEST)
    best = Best(weights=read_encoder_state(objective.encoder, kept.encoder), ranked=kept.read_val_ranking())
    told = json.loads(state_file.read_text(encoding="utf-8"))
    return best, RunState(**{**told, "unreported": tuple(told["unreported"])})
