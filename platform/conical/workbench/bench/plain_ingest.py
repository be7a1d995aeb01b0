"""The plain alternative to ingest: a process pool over the same decoder, in an interpreter that knows nothing of Ray.

python -m conical.workbench.bench.plain_ingest RECIPE NUM_WORKERS < PATHS

prints the seconds from the start of the pool to the last clip. It decodes and throws away.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from conical.video import FrameRecipe, sample_frames

_CLIPS_AT_ONCE = 8  # as many as a unit of the ingest


def decode(path: str, *, recipe: FrameRecipe) -> None:
    """One clip."""
    sample_frames(path, recipe)


def main() -> None:
    """Decode the clips of standard input; no worker means here, after a warm-up: the limit of one core."""
    recipe, num_workers, paths = FrameRecipe(**json.loads(sys.argv[1])), int(sys.argv[2]), sys.stdin.read().splitlines()
    work = partial(decode, recipe=recipe)
    if not num_workers:
        work(paths[0])
    started = time.perf_counter()
    if num_workers:
        # spawned, as Ray's workers are
        with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(work, paths, chunksize=_CLIPS_AT_ONCE))
    else:
        list(map(work, paths))
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
