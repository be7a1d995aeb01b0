"""Speed and memory of the ingest beside a process pool, the bare decoder and read_videos."""

import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.on_ray.session import connect
from conical.workbench.bench.harness import write_page, write_result
from conical.workbench.bench.ingest_speed import bench_ingest, ingest_page

if __name__ == "__main__":
    os.environ["RAY_ADDRESS"] = "local"  # memory is looked up among the processes of this machine
    with tempfile.TemporaryDirectory() as folder:
        connect(Path(folder) / "logs")
        result = bench_ingest(Path(folder))
    pages = ROOT / "docs" / "benchmarks"
    print(json.dumps(result, indent=1))
    print(page := ingest_page(result))
    print(f"kept in {write_result('ingest', result, pages)}")
    print(f"and in {write_page('ingest', 'Ingest', page, pages)}")
