"""A training step against a plain loop, its parts against their alternatives, and the wait for data: ratios."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conical.captioning.mix import HUMAN, PromptMix
from conical.engine.batches import Batch, BatchPlan, TrainingSet
from conical.engine.loop import Step
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser
from conical.engine.options import OptimOptions
from conical.models.dual_encoder import DualEncoder, build_dual_encoder
from conical.models.text_tower import encode_tokens, used_positions
from conical.video.augment import AugmentOptions
from conical.video.transform import rotate_and_flip
from conical.workbench.bench.harness import markdown_table
from conical.workbench.bench.plain_train import PlainStep, plain_copies
from conical.workbench.bench.train_memory import loss_of
from conical.workbench.bench.train_models import random_batch, random_texts, write_train_model

_LOSSES = ("info_nce", "ceo")
# one quotient a line of the page: what it is, what it is of, what it is divided by
_RATIOS = (
    ("step of InfoNCE: ours to plain", "info_nce ours", "info_nce plain"),
    ("step of CEO: ours to plain", "ceo ours", "ceo plain"),
    ("step of CEO: bfloat16 to float32", "ceo bfloat16", "ceo ours"),
    ("copies of the clips: share of a step of CEO", "copies ours", "ceo ours"),
    ("copies of the clips: ours to sampling the batch at once", "copies ours", "copies at once"),
    ("text tower, forward and backward: cut to its words to whole context", "text cut", "text whole"),
    ("image tower, forward and backward: channels last to first", "image last", "image first"),
)
_WAITING = "time that training waits for batches: share"


def bench_train(
    name: str, *, rows: int, frames: int, rounds: int = 5, steps: int = 4, has_bfloat16: bool = False
) -> dict[str, Any]:
    """Time what a step is made of on one batch of noise, and a few steps on batches from a memory map.

    Each round goes once through all ways; a ratio is the median over the rounds of the quotients within each, so that
    other work on the machine, which comes and goes, weighs on both sides. Times are those of this process on all cores:
    work beside it takes cores away, and what is left of a wall time is chance.

    Args:
        name: a model of `train_models`.
        rows: of a batch.
        frames: of each row.
        rounds: through all ways, after one to warm up.
        steps: of the loop over the memory map.
        has_bfloat16: time that precision too; a CPU without it takes some 30 times as long.

    Returns:
        `what`, `num_threads`, median CPU `seconds` by way, and `ratios`.
    """
    with tempfile.TemporaryDirectory() as folder:
        encoder = build_dual_encoder(write_train_model(name, Path(folder)))
        batch = random_batch(rows=rows, frames=frames, size=encoder.image_size_px)
        ways = {**_steps(encoder, batch, has_bfloat16=has_bfloat16), **_parts(encoder, batch)}
        seconds = interleaved(ways, rounds=rounds)
        waiting = _waiting_share(encoder, Path(folder), rows=rows, frames=frames, steps=steps)
    ratios = {what: median_quotient(seconds[over], seconds[under]) for what, over, under in _RATIOS if over in seconds}
    return {
        "what": f"{rows} rows of {frames} frames of {encoder.image_size_px} px, captions of 10 words, {rounds} rounds",
        "num_threads": torch.get_num_threads(),
        "seconds": {way: statistics.median(times) for way, times in seconds.items()},
        "ratios": {**ratios, _WAITING: waiting},
    }


def interleaved(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """CPU times of each way, one a round; a round before them warms up."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            started = time.process_time()
            work()
            if number:
                times[way].append(time.process_time() - started)
    return times


def median_quotient(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the quotients of two lists, number by number.

    >>> median_quotient([2.0, 3.0, 40.0], [1.0, 1.0, 10.0])
    3.0
    """
    return statistics.median(first / second for first, second in zip(over, under, strict=True))


def train_page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A column per model."""
    heads = [f"{name}: {result['what']}; {result['num_threads']} threads" for name, result in results.items()]
    tables = [
        markdown_table(
            (kind, *results), [[line, *(_number(result[key], line) for result in results.values())] for line in lines]
        )
        for kind, key in (("ratio", "ratios"), ("median CPU seconds", "seconds"))
        if (lines := list(dict.fromkeys(line for result in results.values() for line in result[key])))
    ]
    listed = "\n".join(f"- {head}" for head in heads)
    return "\n\n".join((listed, *tables)) + "\n"


def _number(values: Mapping[str, float], line: str) -> str:
    return f"{values[line]:.3f}" if line in values else ""


def _steps(encoder: DualEncoder, batch: Batch, *, has_bfloat16: bool) -> dict[str, Callable[[], object]]:
    """Whole updates; ours and the plain ones have the same loss, or this raises."""
    objectives = {loss: Objective(encoder, loss_of(loss)).train() for loss in _LOSSES}
    plain = {loss: PlainStep(encoder, loss=loss) for loss in _LOSSES}
    for loss in _LOSSES:
        torch.manual_seed(0)
        wanted = plain[loss].loss(batch)
        torch.manual_seed(0)
        torch.testing.assert_close(objectives[loss](batch)["loss"], wanted, atol=1e-4, rtol=1e-4)
    optimiser = build_optimiser(objectives["ceo"], OptimOptions(learning_rate=1e-6))
    step = Step(optimiser=optimiser, max_grad_norm=1.0)
    low = Step(optimiser=optimiser, max_grad_norm=1.0, autocast=torch.autocast("cpu", dtype=torch.bfloat16))
    info_nce, ceo = (objectives[loss] for loss in _LOSSES)
    ways: dict[str, Callable[[], object]] = {
        "info_nce ours": lambda: step(info_nce, info_nce, batch, number=0),
        "info_nce plain": lambda: plain["info_nce"](batch),
        "ceo ours": lambda: step(ceo, ceo, batch, number=0),
        "ceo plain": lambda: plain["ceo"](batch),
    }
    return ways | ({"ceo bfloat16": lambda: low(ceo, ceo, batch, number=0)} if has_bfloat16 else {})


def _parts(encoder: DualEncoder, batch: Batch) -> dict[str, Callable[[], object]]:
    """What a step does, each beside its alternative."""
    clip = encoder.clip
    tokens = encoder.reader.tokens(batch.texts)
    used = used_positions(clip, tokens)
    # as pixels come from frames, and as they come from copies
    last = batch.frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    first = last.contiguous()
    return {
        "copies ours": lambda: rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip),
        "copies at once": lambda: plain_copies(batch),
        "text cut": lambda: encode_tokens(clip, tokens[:, :used]).sum().backward(),
        "text whole": lambda: clip.encode_text(tokens).sum().backward(),
        "image last": lambda: clip.encode_image(last).sum().backward(),
        "image first": lambda: clip.encode_image(first).sum().backward(),
    }


def _waiting_share(encoder: DualEncoder, folder: Path, *, rows: int, frames: int, steps: int) -> float:
    """Of the time of some steps of CEO on batches from a memory map."""
    size, count = encoder.image_size_px, rows * steps
    path = folder / "frames.npy"
    written = np.lib.format.open_memmap(path, "w+", np.uint8, (count, frames, size, size, 3))
    written[:] = random_batch(rows=count, frames=frames, size=size, seed=1).frames.numpy()
    written.flush()
    data = TrainingSet(frames=np.load(path, mmap_mode="r"), texts=[{HUMAN: ((text,),)} for text in random_texts(count)])
    plan = BatchPlan(data=data, mix=PromptMix(), augment=AugmentOptions(), batch_size=rows)
    objective = Objective(encoder, loss_of("ceo")).train()
    step = Step(optimiser=build_optimiser(objective, OptimOptions(learning_rate=1e-6)), max_grad_norm=1.0)
    waited, started = 0.0, time.perf_counter()
    mark = started
    for number, batch in enumerate(plan.batches(0)):
        waited += time.perf_counter() - mark
        step(objective, objective, batch, number=number)
        mark = time.perf_counter()
    return waited / (mark - started)
