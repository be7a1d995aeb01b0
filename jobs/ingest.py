"""Decode exact frames of every video into the frame store: the same as `conical ingest`.

python jobs/ingest.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/ingest.py
ray job submit --working-dir . -- python jobs/ingest.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["ingest", *sys.argv[1:]])
