"""Exact frames of a clip.

Frame k is the k-th frame in presentation order. Nothing is ever sought: seeking gives wrong frames, silently, on H.264
in AVI, on open GOPs and on B-frame MPEG-4 (`docs/method.md` 5).

    1. probe        count the packets                        -> which indices to take, if each packet shows a frame
    2. decode       all frames in order, convert the sampled -> the count as the decoder has it
    3. decode again only where the true count and times lead to other indices

A backend reads a file only where the accuracy suite found it exact on that kind (`rules`); `auto` takes the fastest of
those, and the next one where it refuses.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.core.records import SampledFrames
from conical.core.registry import resolve
from conical.core.seeds import derive_seed
from conical.video.backends.backend import Backend
from conical.video.backends.decord import decord_frames
from conical.video.backends.image_folder import IMAGES_DECODER, image_frames
from conical.video.backends.pyav import pyav_frames
from conical.video.backends.rules import AUTO_ORDER, refuse_if_inexact
from conical.video.backends.torchcodec import torchcodec_frames
from conical.video.geometry import centre_square
from conical.video.probe import IMAGES_CONTAINER, VideoInfo, probe
from conical.video.recipe import FrameRecipe
from conical.video.sampling import SamplingRequest, sample_indices, window_span

BACKENDS: dict[str, Backend] = {"pyav": pyav_frames, "decord": decord_frames, "torchcodec": torchcodec_frames}


def sample_frames(
    path: str | Path, recipe: FrameRecipe, *, start_seconds: float = 0.0, end_seconds: float | None = None
) -> SampledFrames:
    """Decode the sampled frames of a clip.

    Args:
        path: the video file, or a folder of images, which no decoder of the recipe is asked to read.
        recipe: how many, which and of what size.
        start_seconds: where the clip starts, counted from the file's first frame, >= 0.
        end_seconds: where it ends (exclusive); None: at the end of the file.

    Returns:
        `recipe.num_frames` frames, (num_frames, size, size, 3).

    Raises:
        DecodeError: see `probe` and the backends; also `truncated` when the window starts after the last frame.
    """
    info = probe(path)
    window = _Window(start_seconds, end_seconds)
    if info.container == IMAGES_CONTAINER:
        return _sample_with(IMAGES_DECODER, image_frames, info=info, recipe=recipe, window=window)
    first_refusal: DecodeError | None = None
    for decoder in AUTO_ORDER if recipe.decoder == "auto" else (recipe.decoder,):
        backend: Backend = resolve("decoder", decoder, BACKENDS)
        try:
            refuse_if_inexact(decoder, info)
            return _sample_with(decoder, backend, info=info, recipe=recipe, window=window)
        except DecodeError as error:
            if error.kind != "refused":
                raise
            first_refusal = first_refusal or error
    assert first_refusal is not None
    raise first_refusal


@dataclass(frozen=True)
class _Window:
    start_seconds: float
    end_seconds: float | None


@dataclass(frozen=True)
class _Clip:
    """The frames of a window: index of the first in the file, and the time of each."""

    first: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class _Reading:
    """One sequential pass: the clip as the decoder has it, and the wanted pictures by index."""

    clip: _Clip
    pictures: dict[int, NDArray[np.uint8]]


def _sample_with(
    decoder: str, backend: Backend, *, info: VideoInfo, recipe: FrameRecipe, window: _Window
) -> SampledFrames:
    wanted = _choose(_promised(info, window), info=info, recipe=recipe, window=window)
    for _ in range(2):
        reading = _read(info, backend, window=window, wanted=frozenset(wanted[0]), size=recipe.size)
        if not reading.clip.seconds:
            raise _nothing_there(info, window)
        chosen = _choose(reading.clip, info=info, recipe=recipe, window=window)
        if chosen == wanted:
            return _gather(reading, wanted[0], decoder=decoder, is_padded=wanted[1])
        wanted = chosen
    raise DecodeError("corrupt", f"{info.path.name}: the number of frames differs from one reading to the next")


def _promised(info: VideoInfo, window: _Window) -> _Clip:
    span = window_span(info.frame_seconds, start_seconds=window.start_seconds, end_seconds=window.end_seconds)
    return _Clip(span.start, info.frame_seconds[span.start : span.stop])


def _choose(clip: _Clip, *, info: VideoInfo, recipe: FrameRecipe, window: _Window) -> tuple[tuple[int, ...], bool]:
    if not clip.seconds:
        return (), False
    # by the file's name, not its place: a data set that moves keeps its frames
    names = ("random_segment", info.path.name, str(window.start_seconds), str(window.end_seconds))
    request = SamplingRequest(
        num_frames=recipe.num_frames,
        sample_fps=recipe.sample_fps,
        seed=derive_seed(recipe.sampler_seed, *names),
    )
    return sample_indices(clip.seconds, first=clip.first, sampler=recipe.sampler, request=request)


def _read(info: VideoInfo, backend: Backend, *, window: _Window, wanted: frozenset[int], size: int) -> _Reading:
    pictures: dict[int, NDArray[np.uint8]] = {}
    seconds: list[float] = []
    first, latest, before = 0, 0.0, 0.0
    with closing(backend(info)) as frames:
        for index, frame in enumerate(frames):
            # time stamps can run backwards where a file is joined from parts; the decoder's order is the truth
            latest = max(latest, frame.seconds)
            if window.end_seconds is not None and latest >= window.end_seconds:
                if not seconds and first:
                    # between two frames the earlier one is on show
                    return _Reading(_Clip(first - 1, (before,)), pictures)
                break
            if latest < window.start_seconds:
                first, before = index + 1, latest
            else:
                seconds.append(latest)
            if index in wanted:
                if frame.is_corrupt:
                    raise DecodeError("corrupt", f"{info.path.name}: frame {index} is damaged")
                pictures[index] = centre_square(frame.to_rgb(), size=size, orientation=frame.orientation)
    return _Reading(_Clip(first, tuple(seconds)), pictures)


def _gather(reading: _Reading, indices: tuple[int, ...], *, decoder: str, is_padded: bool) -> SampledFrames:
    return SampledFrames(
        frames=np.stack([reading.pictures[index] for index in indices]),
        frame_indices=indices,
        pts_seconds=tuple(reading.clip.seconds[index - reading.clip.first] for index in indices),
        decoder=decoder,
        is_padded=is_padded,
    )


def _nothing_there(info: VideoInfo, window: _Window) -> DecodeError:
    if window.start_seconds > 0 or window.end_seconds is not None:
        end = "the end" if window.end_seconds is None else f"{window.end_seconds} s"
        return DecodeError(
            "truncated",
            f"{info.path.name}: no frame between {window.start_seconds} s and {end}; "
            f"the file lasts {info.duration_seconds:.3f} s",
        )
    return DecodeError("corrupt", f"{info.path.name}: no frame could be decoded")
