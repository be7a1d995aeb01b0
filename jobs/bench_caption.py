"""Captions/s, batched with a shared prefix, against one generate per prompt: `python jobs/bench_caption.py`."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.config import load_experiment
from conical.workbench.bench.harness import bench_caption, write_result

if __name__ == "__main__":
    result = bench_caption(load_experiment(None))
    print(json.dumps(result, indent=1))
    print(f"kept in {write_result('caption', result, ROOT / 'docs' / 'benchmarks')}")
