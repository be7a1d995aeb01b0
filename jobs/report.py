"""Tables and one self-contained HTML file: the same as `conical report`.

python jobs/report.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/report.py
ray job submit --working-dir . -- python jobs/report.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["report", *sys.argv[1:]])
