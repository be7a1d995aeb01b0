"""Benchmarks as ratios within one run: against the plain alternative and against the limit. Nothing asserts a time."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conical.config import Experiment
from conical.core.atomic import write_text_atomic
from conical.runs.provenance import environment

_REPEATS = 3  # the best of so many: other work on the machine only ever slows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown; the first column is text, the others are numbers."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *rows))


def best_seconds(work: Callable[[], None], *, repeats: int = _REPEATS) -> float:
    """Wall time of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def write_result(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Keep a result with date and environment as JSON in `folder`; returns the file."""
    now = datetime.datetime.now(datetime.UTC)
    path = folder / f"{now:%Y-%m-%d}-{name}.json"
    write_text_atomic(
        path, json.dumps({"date": now.isoformat(timespec="seconds"), **environment(), **result}, indent=1)
    )
    return path


def write_page(name: str, title: str, text: str, folder: Path) -> Path:
    """Keep a dated page beside the JSON; returns the file."""
    facts = environment()
    path = folder / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{name}.md"
    machine = f"{facts['machine']}, {facts['device']}, commit {facts['commit']}"
    write_text_atomic(path, f"# {title}\n\n`python jobs/bench_{name}.py`, {machine}.\n\n{text}")
    return path


def bench_caption(experiment: Experiment, *, num_clips: int = 48) -> dict[str, Any]:
    """Captions/s of the captioner, batched with the video prefilled once, and of one `generate` a prompt.

    Args:
        experiment: names captioner and prompts.
        num_clips: random clips of the captioner's size; their content does not matter to the time.
    """
    import numpy as np

    from conical.captioning import create_captioner

    captioner = create_captioner(experiment.captions)
    rng = np.random.default_rng(0)
    size, count = captioner.card.size_px, captioner.card.num_frames
    clips = [rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8) for _ in range(num_clips)]
    prompts = [prompt.render("a red circle moves") for prompt in experiment.captions.resolved_prompts()]
    batch = experiment.captions.batch_size

    def batched() -> None:
        for first in range(0, num_clips, batch):
            part = clips[first : first + batch]
            for prompt in prompts:
                captioner.caption(part, [prompt] * len(part), seeds=[0] * len(part))

    def one_by_one() -> None:
        for clip in clips:
            for prompt in prompts:
                captioner.caption([clip.copy()], [prompt], seeds=[0])  # a copy shares no work with the one before

    total = num_clips * len(prompts)
    per_second = {
        "one_generate_a_prompt": total / best_seconds(one_by_one, repeats=1),
        "batched": total / best_seconds(batched, repeats=1),
    }
    return {
        "what": f"{num_clips} clips x {len(prompts)} prompts, {captioner.card.name}, batches of {batch}",
        "captions_per_second": per_second,
        "ratio_to_one_generate_a_prompt": per_second["batched"] / per_second["one_generate_a_prompt"],
    }
