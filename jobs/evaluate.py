"""Score finished runs on val and test: the same as `conical evaluate`.

python jobs/evaluate.py [--config FILE] [--set KEY=VALUE]
python jobs/evaluate.py RUN --on FOLDER [--captions FILE] [--num-frames N]
ray job submit -- python jobs/evaluate.py
ray job submit --working-dir . -- python jobs/evaluate.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["evaluate", *sys.argv[1:]])
