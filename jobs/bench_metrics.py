"""Ranks of 10k and 100k texts against argsort and the bare product: `python jobs/bench_metrics.py [N ...]`."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.workbench.bench.harness import write_result
from conical.workbench.bench.ranking_speed import bench_metrics

if __name__ == "__main__":
    sizes = tuple(int(word) for word in sys.argv[1:])
    result = bench_metrics(sizes) if sizes else bench_metrics()
    print(json.dumps(result, indent=1))
    print(f"kept in {write_result('metrics', result, ROOT / 'docs' / 'benchmarks')}")
