"""The whole chain on generated videos: the same as `conical demo`.

python jobs/demo.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/demo.py
ray job submit --working-dir . -- python jobs/demo.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["demo", *sys.argv[1:]])
