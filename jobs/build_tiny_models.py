"""Make both tiny models of `platform/conical/assets` from nothing and print their figures (about an hour on 2 cores).

python jobs/build_tiny_models.py [ASSETS_FOLDER]
"""

import sys
import tempfile
from pathlib import Path

# the package's source lies beside, installed or not
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.workbench.tiny_models.build import TinyModelsOptions, build_tiny_models


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "platform" / "conical" / "assets"
    assets = Path(sys.argv[1]) if len(sys.argv) > 1 else folder
    with tempfile.TemporaryDirectory() as scratch:
        print(build_tiny_models(assets, scratch, TinyModelsOptions(), report=show))


def show(stage: str, done: int, total: int, loss: float) -> None:
    """A line now and then."""
    if done % max(1, total // 50) == 0:
        print(f"{stage} {done}/{total} loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
