"""Seconds and peak memory of a training step, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from conical.engine.loop import Step
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser
from conical.engine.options import OptimOptions
from conical.losses import LossOptions, loss_card
from conical.models.dual_encoder import build_dual_encoder
from conical.models.options import ModelOptions
from conical.workbench.bench.harness import markdown_table
from conical.workbench.bench.train_models import TINY, VIT, random_batch, write_train_model

_PLATFORM = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """What is measured.

    Args:
        model: `ModelOptions.name`.
        weights: `ModelOptions.weights`.
        loss: `info_nce` or `ceo`.
        rows: of the batch.
        frames: of each row.
        chunk_size: rows whose forward pass is kept at once; 0: all.
        has_checkpoints: activations inside the towers' blocks are computed again in the backward pass.
        steps: that are made; the last is timed.
    """

    model: str
    weights: str
    loss: str
    rows: int
    frames: int
    chunk_size: int = 0
    has_checkpoints: bool = False
    steps: int = 1


# name of the model, and what is tried on it
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    (TINY, {"loss": "ceo", "rows": 256, "frames": 10}),
    (TINY, {"loss": "ceo", "rows": 256, "frames": 10, "chunk_size": 32}),
    (VIT, {"loss": "info_nce", "rows": 256, "frames": 1}),
    (VIT, {"loss": "info_nce", "rows": 256, "frames": 1, "chunk_size": 32}),
    (VIT, {"loss": "ceo", "rows": 32, "frames": 10, "chunk_size": 8}),
    (VIT, {"loss": "ceo", "rows": 32, "frames": 10, "chunk_size": 4}),
    (VIT, {"loss": "ceo", "rows": 32, "frames": 10, "has_checkpoints": True}),
)


def bench_train_memory(cases: Sequence[tuple[str, Mapping[str, Any]]] = CASES) -> list[dict[str, Any]]:
    """What each case says, with `model`, `seconds` and `peak_mb`; one process after the other.

    Args:
        cases: names of `train_models`, and values of `StepCase`.
    """
    results = []
    with tempfile.TemporaryDirectory() as folder:
        written = {}
        for name, values in cases:
            if name not in written:
                (Path(folder) / name.replace("/", "")).mkdir()
                written[name] = write_train_model(name, Path(folder) / name.replace("/", ""))
            case = StepCase(model=written[name].name, weights=written[name].weights, **values)
            found = measure_in_child(case, num_threads=torch.get_num_threads())
            results.append({**asdict(case), **found, "model": name})
    return results


def memory_page(results: Sequence[Mapping[str, Any]]) -> str:
    """A row per case."""
    rows = []
    for result in results:
        chunks = f"chunks of {result['chunk_size']} rows" if result["chunk_size"] else ""
        checkpoints = "activations computed again" if result["has_checkpoints"] else ""
        rows.append(
            [
                f"{result['model']}, {result['loss']}, {result['rows']} rows of {result['frames']} frames",
                ", ".join(filter(None, (chunks, checkpoints))) or "whole",
                f"{result['peak_mb'] / 1e3:.2f}",
                f"{result['seconds']:.1f}",
            ]
        )
    return markdown_table(("one step", "how", "peak GB of the process", "seconds"), rows) + "\n"


def measure_in_child(case: StepCase, *, num_threads: int) -> dict[str, float]:
    """`seconds` of a step and `peak_mb`, the most memory its process ever held (weights and Python included).

    Raises:
        RuntimeError: the process failed, for want of memory perhaps.
    """
    command = [sys.executable, "-m", __name__, json.dumps(asdict(case)), str(num_threads)]
    path = os.pathsep.join(filter(None, (str(_PLATFORM), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise RuntimeError(f"the step {case} ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_here(case: StepCase) -> dict[str, float]:
    """The same in this process."""
    torch.manual_seed(0)
    encoder = build_dual_encoder(ModelOptions(name=case.model, weights=case.weights))
    if case.has_checkpoints:
        encoder.clip.set_grad_checkpointing()
    objective = Objective(encoder, loss_of(case.loss)).train()
    options = OptimOptions(learning_rate=1e-6)
    step = Step(optimiser=build_optimiser(objective, options), max_grad_norm=1.0, chunk_size=case.chunk_size)
    batch = random_batch(rows=case.rows, frames=case.frames, size=encoder.image_size_px)
    seconds = 0.0
    for number in range(case.steps):
        started = time.perf_counter()
        step(objective, objective, batch, number=number)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": peak_mb()}


def loss_of(name: str) -> LossOptions:
    """A loss as its card sets it."""
    return LossOptions(**{"name": name, **loss_card(name).defaults})


def peak_mb() -> float:
    """The most resident memory of this process so far; `ru_maxrss` would count its parent's too."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status does not say VmHWM")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps(measure_here(StepCase(**json.loads(sys.argv[1])))))
