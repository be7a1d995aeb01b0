"""A training step beside a plain loop, its parts and its memory: `python jobs/bench_train.py`; some 20 minutes."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))
# before torch is imported: a thread that waits must not count as work
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from conical.workbench.bench.harness import write_page, write_result
from conical.workbench.bench.train_memory import bench_train_memory, memory_page
from conical.workbench.bench.train_models import PAIR, TINY, VIT
from conical.workbench.bench.train_speed import bench_train, train_page

if __name__ == "__main__":
    folder = ROOT / "docs" / "benchmarks"
    speed = {
        TINY: bench_train(TINY, rows=16, frames=4, has_bfloat16=True),
        VIT: bench_train(VIT, rows=4, frames=2, rounds=3),
        PAIR: bench_train(PAIR, rows=8, frames=2, rounds=3),
    }
    print(train_page(speed))
    memory = bench_train_memory()
    print(memory_page(memory))
    print(f"kept in {write_result('train', {'speed': speed, 'memory': memory}, folder)}")
    page = f"{train_page(speed)}\n{memory_page(memory)}"
    print(json.dumps({"page": str(write_page("train", "A training step", page, folder))}))
