"""Each decoder tried on a few kinds of the frame-accuracy suite: each frame says in its pixels which one it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from conical.core.errors import ConicalError
from conical.workbench.doctor.check_result import Check
from conical.workbench.frame_accuracy.kinds import KINDS
from conical.workbench.frame_accuracy.suite import decoder_reader, measure

# Kinds that every backend may read; docs/frame_accuracy.md has all of them.
TRIED = ("h264_b_frames.mp4", "h264_open_gop.mp4", "wide_pixels.mp4")
_OPTIONAL = {
    "decord": "uninstall it: it is optional, and PyAV does all",
    "torchcodec": "install FFmpeg's shared libraries, or uninstall it: it is optional",
}


def try_decoders() -> Iterator[Check]:
    """Decode generated H.264 clips by PyAV and, if they are installed, by decord and torchcodec.

    Yields:
        One check per decoder, as soon as it is known.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            write_clips(folder)
        except Exception as error:  # noqa: BLE001 - whatever this build of PyAV lacks, the line must say it
            detail = f"cannot write an H.264 clip ({' '.join(str(error).split())[:120]})"
            yield Check(name="pyav", status="fail", detail=detail, advice="run make setup; PyAV needs libx264")
            return
        yield _try("pyav", folder, at_worst="fail", advice="run make setup")
        for decoder, advice in _OPTIONAL.items():
            yield _try_optional(decoder, folder, advice=advice)


def _try_optional(decoder: str, folder: Path, *, advice: str) -> Check:
    if find_spec(decoder) is None:
        return Check(name=decoder, status="ok", detail="not installed (optional)")
    return _try(decoder, folder, at_worst="warn", advice=advice)


def write_clips(folder: Path) -> None:
    """Write the tried kinds into `folder`, under their names."""
    for kind in TRIED:
        KINDS[kind].write(folder / kind)


def _try(decoder: str, folder: Path, *, at_worst: str, advice: str) -> Check:
    num_exact = 0
    for name in TRIED:
        try:
            result = measure(KINDS[name], folder / name, name=name, reader_name=decoder, reader=decoder_reader(decoder))
        except (ConicalError, ImportError, OSError, RuntimeError) as error:
            return _complaint(decoder, at_worst, f"cannot decode ({_short(error)})", advice)
        if result.status == "refused":
            return _complaint(decoder, at_worst, f"cannot decode ({_short(result.refusal)})", advice)
        if result.status == "wrong":
            detail = f"wrong frames: only {result.num_exact} of {result.num_frames} are right in {name}"
            return _complaint(decoder, at_worst, detail, "set frames.decoder to another one")
        num_exact += result.num_exact
    detail = f"{num_exact} of {num_exact} frames exact in {len(TRIED)} kinds of file"
    return Check(name=decoder, status="ok", detail=detail)


def _complaint(decoder: str, status: str, detail: str, advice: str) -> Check:
    return Check(name=decoder, status=status, detail=detail, advice=advice)


def _short(error: Exception | str) -> str:
    return " ".join(str(error).split())[:160]
