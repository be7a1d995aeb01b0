"""One rank of short trainings; `test_training_ranks.py` starts it as a program and reads the file it writes.

python training_worker.py RANK RANKS FOLDER
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from conical.distributed import rank, world_size
from conical.engine.batches import BatchPlan, TrainingSet
from conical.engine.loop import EpochReport, train
from conical.engine.objective import Objective
from conical.engine.options import OptimOptions
from conical.engine.selection import ValScore
from conical.losses import LossOptions
from conical.models import ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.projection_options import ProjectionOptions
from model_pairs import write_pair
from unit.engine.engine_factory import batch_plan, training_set

METRIC = "val/raw/t2v/R1"
ROWS = 8
MLP = ProjectionOptions(kind="mlp", width=16, layer_norm=True)
# name to (pair, model settings, loss settings, optim settings)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "ceo, learnt scales": ("clip", {}, {"is_learnable": True}, {}),
    "ceo in chunks": ("clip", {}, {"is_learnable": True}, {"chunk_size": 1, "ema_decay": 0.9}),
    "sigmoid": ("clip", {}, {"name": "sigmoid", "is_learnable": True}, {}),
    "words": (
        "clip",
        {"head": "token_wise", "head_settings": {"num_layers": 1}},
        {"name": "dmae", "extra": {"decorrelation": 0.1, "partial_order": 0.5}},
        {},
    ),
    "words in chunks": (
        "clip",
        {"head": "multi_grained", "head_settings": {"num_layers": 1}},
        {"name": "info_nce", "is_learnable": True, "extra": {"partial_order": 0.5}},
        {"chunk_size": 1},
    ),
    "pooled by the text": (
        "clip",
        {"head": "text_conditioned_pool", "head_settings": {"dropout": 0.0}},
        {"name": "info_nce"},
        {"chunk_size": 1},
    ),
    "supplements": ("clip", {"head": "caption_fusion"}, {"name": "info_nce"}, {"chunk_size": 1}),
    "batch norm over ranks": (
        "timm and bert",
        {"batch_norm": "trained", "freeze": ("clip.text.*",), "image_projection": MLP, "text_projection": MLP},
        {"name": "info_nce"},
        {},
    ),
    "batch norm held": (
        "timm and bert",
        {"freeze": ("clip.text.*",), "image_projection": MLP, "text_projection": MLP},
        {"name": "info_nce"},
        {},
    ),
}


def data(case: str, side: int) -> TrainingSet:
    whole = training_set(num_videos=16, side=side)
    if case != "supplements":
        return whole
    # not all have as many, and one has none
    texts = [tuple(f"a {word} thing" for word in ("red", "round", "large")[: number % 4]) for number in range(16)]
    return TrainingSet(frames=whole.frames, texts=whole.texts, supplements=texts)


def run(case: str, folder: Path, *, epochs: int = 2, resume_from: Path | None = None) -> dict[str, torch.Tensor]:
    """Losses and gradient norms of all steps, and the weights at the end; a checkpoint of each epoch below `folder`."""
    pair, model, loss, optim = CASES[case]
    options: ModelOptions = write_pair(pair, folder / f"pair-{rank()}-{world_size()}")
    torch.manual_seed(0)
    encoder = build_dual_encoder(ModelOptions(name=options.name, weights=options.weights, **model))
    objective = Objective(encoder, LossOptions(**loss))
    reports: list[EpochReport] = []

    def report(told: EpochReport) -> None:
        reports.append(told)
        if rank() == 0:
            told.save(folder / f"{case}-{world_size()}" / f"{told.epoch:g}")

    def wrap(module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module) if world_size() > 1 else module

    plan: BatchPlan = batch_plan(
        data=data(case, encoder.image_size_px), batch_size=ROWS, rank=rank(), world_size=world_size()
    )
    train(
        objective,
        plan,
        OptimOptions(epochs=epochs, batch_size=ROWS, learning_rate=1e-2, warmup_fraction=0.0, **optim),
        score_val=lambda: ValScore(values={METRIC: float(len(reports))}),
        select_metric=METRIC,
        report=report,
        wrap=wrap,
        resume_from=resume_from,
    )
    rows = [row for told in reports for row in told.step_metrics]
    found = {f"step/{name}": torch.tensor([row[name] for row in rows]) for name in rows[0]}
    return found | {f"weight/{name}": value for name, value in objective.encoder.plain_state().items()}


def main(own_rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=own_rank,
        world_size=ranks,
        timeout=timedelta(seconds=120),
    )
    # on four ranks those whose features differ in kind
    cases = list(CASES) if ranks == 2 else ["ceo in chunks", "words"]
    torch.save({case: run(case, folder) for case in cases}, folder / f"rank{own_rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
