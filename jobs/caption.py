"""Write the supplements of each prompt into the caption ledger: the same as `conical caption`.

python jobs/caption.py [--config FILE] [--set KEY=VALUE]
ray job submit -- python jobs/caption.py
ray job submit --working-dir . -- python jobs/caption.py
"""

import sys
from pathlib import Path

# an uploaded working directory has the package's source but no installation
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.cli.main import run

if __name__ == "__main__":
    run(["caption", *sys.argv[1:]])
