"""Batches/s out of the frame store, mapped, decoded ahead and in a plain loop: `python jobs/bench_input.py`.

Sizes follow in this order where others are wanted: clips, rows of a batch.
"""

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.workbench.bench.harness import write_page, write_result
from conical.workbench.bench.input_speed import bench_input, input_page

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sizes = dict(zip(("num_videos", "batch_size"), map(int, sys.argv[1:]), strict=False))
        result = bench_input(Path(folder), **sizes)
    pages = ROOT / "docs" / "benchmarks"
    print(json.dumps(result, indent=1))
    print(page := input_page(result))
    print(f"kept in {write_result('input', result, pages)}")
    print(f"and in {write_page('input', 'Training input', page, pages)}")
