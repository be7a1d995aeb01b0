"""The process that decodes, started by `deadline.DecodeProcess`. It may hang or die; its parent survives.

Each request is one JSON message; each answer is one JSON message, followed by the pixels as raw bytes if it is `ok`.
"""

from __future__ import annotations

import json
import math
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from conical.core.errors import DecodeError
from conical.video.decode import sample_frames
from conical.video.recipe import FrameRecipe

# The parent kills a child that is late; this is for a child whose parent is gone.
_GRACE_SECONDS = 5


def serve(handle: int) -> None:
    """Answer requests on the socket `handle` until the parent closes it."""
    import av

    av.logging.set_level(None)
    # the default action ends the process even when a C decoder never gives the interpreter back
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with Connection(handle) as connection:
        connection.send_bytes(b"ready")
        while True:
            try:
                request = json.loads(connection.recv_bytes())
            except EOFError:
                return
            signal.alarm(math.ceil(request["deadline_seconds"]) + _GRACE_SECONDS)
            _answer(connection, request)
            signal.alarm(0)


def _answer(connection: Connection, request: dict[str, Any]) -> None:
    try:
        sampled = sample_frames(
            str(request["path"]),
            FrameRecipe(**request["recipe"]),
            start_seconds=request["start_seconds"],
            end_seconds=request["end_seconds"],
        )
    except DecodeError as error:
        _send(connection, {"status": error.kind, "message": str(error)})
    except MemoryError as error:
        _send(connection, {"status": "crashed", "message": f"out of memory while decoding ({error})"})
    else:
        _send(
            connection,
            {
                "status": "ok",
                "shape": sampled.frames.shape,
                "frame_indices": sampled.frame_indices,
                "pts_seconds": sampled.pts_seconds,
                "decoder": sampled.decoder,
                "is_padded": sampled.is_padded,
            },
        )
        pixels = np.ascontiguousarray(sampled.frames).data.cast("B")
        while pixels:
            pixels = pixels[os.write(connection.fileno(), pixels) :]


def _send(connection: Connection, message: dict[str, object]) -> None:
    connection.send_bytes(json.dumps(message).encode())
