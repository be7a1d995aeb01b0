"""Search temperatures and the prompt mix on val; score the winner once on test: the same as `conical tune`.

python jobs/tune.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/tune.py
ray job submit --working-dir . -- python jobs/tune.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["tune", *sys.argv[1:]])
