"""Each decoder tried on a clip whose frames say by their grey level which frame they are."""

from __future__ import annotations

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from conical.core.errors import ConicalError
from conical.video import FrameRecipe, sample_frames

_NUM_FRAMES = 12
_SIZE_PX = 64
_STEP = 16  # grey levels between frames; compression moves a flat frame by 2 at most
_MEND = "run make setup; on other platforms than x86-64 Linux decord does not exist and PyAV does all"


def try_decoders() -> list[dict[str, str]]:
    """Decode a generated H.264 clip with B-frames by PyAV and decord, and look for torchcodec.

    Returns:
        Fields of one `Check` a decoder.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "grey.mp4"
        try:
            write_grey_clip(clip)
        except Exception as error:  # noqa: BLE001 - whatever this build of PyAV lacks, the line must say it
            detail = f"cannot write an H.264 clip ({' '.join(str(error).split())[:120]})"
            return [
                {"name": "pyav", "status": "fail", "detail": detail, "advice": "run make setup; PyAV needs libx264"}
            ]
        return [_try("pyav", clip, at_worst="fail"), _try("decord", clip, at_worst="warn"), _look_for_torchcodec()]


def write_grey_clip(path: Path) -> None:
    """Write the clip: frame k is flat grey of level `_STEP * (k + 1)`."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = _SIZE_PX
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "bf": "2", "threads": "1"}
        for number in range(_NUM_FRAMES):
            level = np.full((_SIZE_PX, _SIZE_PX, 3), _STEP * (number + 1), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())


def _try(decoder: str, clip: Path, *, at_worst: str) -> dict[str, str]:
    recipe = FrameRecipe(num_frames=_NUM_FRAMES, size=_SIZE_PX, decoder=decoder)
    try:
        frames = sample_frames(clip, recipe).frames
    except (ConicalError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        return {"name": decoder, "status": at_worst, "detail": f"cannot decode ({reason})", "advice": _MEND}
    levels = [round(float(frame.mean()) / _STEP) - 1 for frame in frames]
    if levels != list(range(_NUM_FRAMES)):
        detail = f"wrong frames: asked for 0 to {_NUM_FRAMES - 1}, got {levels}"
        return {"name": decoder, "status": at_worst, "detail": detail, "advice": "set frames.decoder to another one"}
    return {"name": decoder, "status": "ok", "detail": f"{_NUM_FRAMES} of {_NUM_FRAMES} frames exact", "advice": ""}


def _look_for_torchcodec() -> dict[str, str]:
    if find_spec("torchcodec") is None:
        return {"name": "torchcodec", "status": "ok", "detail": "not installed (optional)", "advice": ""}
    try:
        import_module("torchcodec")  # loads FFmpeg's libraries
    except (ImportError, OSError, RuntimeError) as error:
        detail = f"installed but cannot be loaded ({' '.join(str(error).split())[:120]})"
        advice = "install FFmpeg's libraries, or uninstall it: it is optional"
        return {"name": "torchcodec", "status": "warn", "detail": detail, "advice": advice}
    return {"name": "torchcodec", "status": "ok", "detail": "loads", "advice": ""}
