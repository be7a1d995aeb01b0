"""Videos/s of the ingest against a plain process pool and the bare decoder: `python jobs/bench_ingest.py`."""

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.on_ray.bench import bench_ingest, write_result
from conical.on_ray.session import connect

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        connect(Path(folder) / "logs")
        result = bench_ingest(Path(folder))
    print(json.dumps(result, indent=1))
    print(f"kept in {write_result('ingest', result, ROOT / 'docs' / 'benchmarks')}")
