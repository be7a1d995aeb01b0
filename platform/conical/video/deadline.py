"""Decoding under a deadline, in a process that may die.

A C decoder can hang or crash, and takes its process with it. So files are decoded in one child process: a child that is
late is killed (`too_slow`), a child that dies is replaced, and the file is tried once more in a fresh one before it is
called guilty (`crashed`): the one before it may have left the decoder broken.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from conical.core.errors import DecodeError
from conical.core.options import require
from conical.core.records import SampledFrames
from conical.video.recipe import FrameRecipe

_START_SECONDS = 120.0

# Time goes with frames, which only reading the file would tell; bytes are known before. 720p video of usual 2.5 Mbit/s
# has 100 frames a MB, decoded in 0.13 s (767 frames/s, docs/frame_accuracy.md), and 1080p of 5 Mbit/s takes 0.14 s.
# A second a MB leaves room for a seventh of that bit rate, such as a filmed lecture, or a core shared with others.
_BYTES_A_SECOND = 1_000_000


class DecodeProcess:
    """A child process that decodes one file after another; use it as a context manager.

    Args:
        recipe: how frames are sampled.
        deadline_seconds: wall time that one file may take, > 0; and a second more for each MB of it.

    Raises:
        ValueError: `deadline_seconds` is not positive.
    """

    def __init__(self, recipe: FrameRecipe, *, deadline_seconds: float = 60.0) -> None:
        require(deadline_seconds > 0, f"deadline_seconds must be > 0, got {deadline_seconds}")
        self._recipe = recipe
        self._deadline_seconds = deadline_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._complaints: IO[bytes] | None = None
        self._is_ready = False

    def start(self) -> None:
        """Let the child import its decoders now, while the caller does other things; `sample` would start it too."""
        if self._connection is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            # decoders complain on standard error; kept aside, its last line tells why a child died
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
            self._process = _start_child(theirs.fileno(), self._complaints)
        self._connection = Connection(ours.detach())

    def sample(
        self, path: str | Path, *, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> SampledFrames:
        """As `sample_frames`.

        Raises:
            DecodeError: as `sample_frames`, and `too_slow` or `crashed`.
        """
        request = {
            "path": str(path),
            "recipe": asdict(self._recipe),
            "start_seconds": start_seconds,
            "end_seconds": end_seconds,
            "deadline_seconds": self._deadline_seconds + _seconds_for_size(Path(path)),
        }
        try:
            return self._ask(request)
        except (EOFError, ConnectionError):
            self.close()
        try:
            return self._ask(request)
        except (EOFError, ConnectionError):
            cause = self._cause_of_death()
            raise DecodeError("crashed", f"{Path(path).name}: the decoding process died twice ({cause})") from None

    def close(self) -> None:
        """End the child, at once and whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        if self._complaints is not None:
            self._complaints.close()
        self._process = self._connection = self._complaints = None
        self._is_ready = False

    def __enter__(self) -> DecodeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> SampledFrames:
        connection = self._connected()
        connection.send_bytes(json.dumps(request).encode())
        if not connection.poll(request["deadline_seconds"]):
            self.close()
            raise DecodeError(
                "too_slow",
                f"{Path(request['path']).name}: not decoded within {request['deadline_seconds']:.0f} s: "
                "raise ray.decode_deadline_seconds, then conical ingest --retry-failed",
            )
        answer = json.loads(connection.recv_bytes())
        if answer["status"] != "ok":
            raise DecodeError(answer["status"], answer["message"])
        frames = np.empty(answer["shape"], dtype=np.uint8)
        _receive_into(connection.fileno(), frames.data.cast("B"))
        return SampledFrames(
            frames=frames,
            frame_indices=tuple(answer["frame_indices"]),
            pts_seconds=tuple(answer["pts_seconds"]),
            decoder=answer["decoder"],
            is_padded=answer["is_padded"],
        )

    def _connected(self) -> Connection:
        """The connection to the living child; starts one if there is none."""
        self.start()
        assert self._connection is not None
        if not self._is_ready:
            # importing the decoder is not the file's fault, so it does not count towards the deadline
            if not self._connection.poll(_START_SECONDS):
                self.close()
                raise RuntimeError(f"the decoding process did not start within {_START_SECONDS:g} s")
            try:
                self._connection.recv_bytes()
            except (EOFError, ConnectionError):
                cause = self._cause_of_death()
                raise RuntimeError(f"the decoding process could not start ({cause})") from None
            self._is_ready = True
        return self._connection

    def _cause_of_death(self) -> str:
        """How the child ended: only called after it closed its side of the connection."""
        assert self._process is not None
        assert self._complaints is not None
        # a child that closed its side but lingers would be waited for without end
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        self.close()
        if code is None:
            return "it stopped answering"
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{ending}: {lines[-1][:200]}" if lines else ending


def _seconds_for_size(path: Path) -> float:
    """Time that a file may take beyond the deadline of any; of a folder of images none, only the sampled are read."""
    return path.stat().st_size / _BYTES_A_SECOND if path.is_file() else 0.0


def _receive_into(handle: int, target: memoryview) -> None:
    """Fill `target` from the socket; `Connection` would copy the pixels three times.

    Raises:
        EOFError: the child died while it answered.
    """
    while target:
        count = os.readv(handle, [target])
        if not count:
            raise EOFError
        target = target[count:]


def _start_child(handle: int, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    """A plain interpreter: `multiprocessing` would import the parent's main program, in a Ray worker all of Ray."""
    program = "import sys; from conical.video.child import serve; serve(int(sys.argv[1]))"
    search_path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(handle)],
        env={**os.environ, "PYTHONPATH": search_path},
        pass_fds=(handle,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
    )
