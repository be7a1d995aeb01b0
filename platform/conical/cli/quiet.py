"""Keep the terminal for what a person reads: libraries' warnings and native messages go to a file."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path


def divert_chatter(path: Path) -> None:
    """Send warnings, and whatever C code writes to file descriptor 2, to `path`; `sys.stderr` stays the terminal.

    Ray's core and the video libraries write to the descriptor directly, past any logger.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 2)
    os.close(target)
    logging.captureWarnings(capture=True)
    warnings = logging.getLogger("py.warnings")
    warnings.addHandler(logging.FileHandler(path, encoding="utf-8"))
    warnings.propagate = False
