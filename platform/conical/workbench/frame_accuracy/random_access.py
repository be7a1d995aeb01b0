"""Random access as libraries offer it, only to show in docs/frame_accuracy.md why it is not used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.core.records import SampledFrames
from conical.video.backends.decord import first_line
from conical.video.geometry import Orientation, centre_square
from conical.video.probe import probe
from conical.video.sampling import uniform

_SIZE_PX = 64


def decord_get_batch(path: Path, num_frames: int) -> SampledFrames:
    """Frames by `VideoReader.get_batch`.

    Args:
        num_frames: how many, spread uniformly over what decord counts.

    Raises:
        DecodeError: `refused`, decord is absent or cannot read the file.
    """

    def read(indices: Callable[[int], list[int]]) -> tuple[list[int], NDArray[Any]]:
        from decord import VideoReader

        reader = VideoReader(str(path), num_threads=1)
        chosen = indices(len(reader))
        return chosen, reader.get_batch(chosen).asnumpy()

    return _sample("decord get_batch", path, num_frames=num_frames, read=read)


def torchcodec_frames_at(path: Path, num_frames: int) -> SampledFrames:
    """Frames by `VideoDecoder.get_frames_at` in its exact mode; as `decord_get_batch`."""

    def read(indices: Callable[[int], list[int]]) -> tuple[list[int], NDArray[Any]]:
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        chosen = indices(len(decoder))
        return chosen, decoder.get_frames_at(chosen).data.numpy()

    return _sample("torchcodec get_frames_at", path, num_frames=num_frames, read=read)


def _sample(
    name: str,
    path: Path,
    *,
    num_frames: int,
    read: Callable[[Callable[[int], list[int]]], tuple[list[int], NDArray[Any]]],
) -> SampledFrames:
    info = probe(path)
    try:
        indices, pictures = read(lambda count: list(uniform(count, min(num_frames, count))))
    except Exception as error:  # each library has exceptions of its own; any of them is a refusal
        raise DecodeError("refused", f"{path.name}: {name} fails ({first_line(error)})") from error
    orientation = Orientation(sample_aspect=info.sample_aspect)
    return SampledFrames(
        frames=np.stack([centre_square(picture, size=_SIZE_PX, orientation=orientation) for picture in pictures]),
        frame_indices=tuple(indices),
        # only pictures are judged here: the times are the probe's
        pts_seconds=tuple(info.frame_seconds[min(index, info.num_frames - 1)] for index in indices),
        decoder=name,
    )
