"""A Hugging Face text tower against a plain loop and its whole context: `python jobs/bench_text_tower.py`."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.workbench.bench.harness import write_page, write_result
from conical.workbench.bench.text_speed import bench_text_tower, text_page

if __name__ == "__main__":
    folder = ROOT / "docs" / "benchmarks"
    results = {
        "64 captions of 10 words": bench_text_tower(),
        "64 captions of 34 words": bench_text_tower(num_words=34),
    }
    print(json.dumps(results, indent=1))
    write_result("text_tower", results, folder)
    print(f"kept in {write_page('text_tower', 'A Hugging Face text tower', text_page(results), folder)}")
