"""Build the model and the dataset of docs/real_frames.md.

python jobs/build_real_frames.py OUT FRAMES ANNOTATIONS [CAPTIONS_PER_VIDEO]
"""

import sys
from pathlib import Path

# the package's source lies beside, installed or not
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from conical.core.errors import UserError
from conical.workbench.real_frames.dataset import write_dataset
from conical.workbench.real_frames.towers import build_pair


def main() -> None:
    out, frames, annotations, *more = sys.argv[1:]
    number = int(more[0]) if more else 20
    folder = Path(out) / f"captions-{number}"
    counts = write_dataset(folder, frames=Path(frames), annotations=Path(annotations), num_captions=number)
    print(f"{folder}: {counts['train']:,} train and {counts['val']:,} val videos, {number} captions a train video")
    print(f"model: {build_pair(Path(out) / 'model')}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
