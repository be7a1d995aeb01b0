"""Fine-tune the dual encoder under DDP: the same as `conical train`.

python jobs/train.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/train.py
ray job submit --working-dir . -- python jobs/train.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["train", *sys.argv[1:]])
