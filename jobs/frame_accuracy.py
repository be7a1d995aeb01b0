"""Every decoder on every kind of file, written to docs/frame_accuracy.md: `python jobs/frame_accuracy.py`."""

import datetime
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

import av

from conical.core.atomic import write_text_atomic
from conical.runs.provenance import environment
from conical.workbench.frame_accuracy.suite_page import accuracy_page, run_suite


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    av.logging.set_level(None)
    with tempfile.TemporaryDirectory() as folder:
        run = run_suite(Path(folder))
    facts = environment()
    provenance = {
        "PyAV": facts["av"],
        "decord": version_of("decord"),
        "torchcodec": version_of("torchcodec"),
        "commit": facts["commit"][:12],
        "machine": facts["machine"],
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    write_text_atomic(ROOT / "docs" / "frame_accuracy.md", accuracy_page(run, provenance))
    print(run)
