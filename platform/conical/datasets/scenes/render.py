"""Truth to pixels, and pixels to an H.264 mp4. Pure: the same truth gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conical.datasets.scenes.truth import COLOURS, RADIUS, Background, SceneObject, SceneTruth

_SUPERSAMPLING = 4
_CONTRAST = 22.0  # grey levels between the light and the dark parts of a texture


def render_frames(truth: SceneTruth, frame_indices: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Draw frames of a scene.

    Args:
        frame_indices: which frames, 0-based; None: all.

    Returns:
        uint8, (num_frames, height, width, 3), RGB.
    """
    encoding = truth.encoding
    indices = range(encoding.num_frames) if frame_indices is None else frame_indices
    stage = min(encoding.width_px, encoding.height_px)
    left, top = (encoding.width_px - stage) / 2, (encoding.height_px - stage) / 2
    canvas = _texture(truth.background, width=encoding.width_px, height=encoding.height_px, stage=stage)
    stamps = [_stamp(item, stage) for item in truth.objects]
    frames = np.empty((len(indices), encoding.height_px, encoding.width_px, 3), dtype=np.uint8)
    for row, index in enumerate(indices):
        time = index / max(1, encoding.num_frames - 1)
        frames[row] = _window(canvas, truth.background, time=time, stage=stage, shape=frames.shape[1:3])
        for item, (alpha, paint) in zip(truth.objects, stamps, strict=True):
            if time >= item.enters:
                x, y = item.centre(time)
                _blend(frames[row], alpha, paint, x_px=left + x * stage, y_px=top + y * stage)
    return frames


def write_video(truth: SceneTruth, path: Path) -> None:
    """Render a scene and write it as an H.264 mp4.

    Args:
        path: file to write; its folder must exist.
    """
    import av

    encoding = truth.encoding
    # one thread and no date: the bytes depend on the truth alone
    options = {
        "preset": "ultrafast",
        "crf": str(encoding.crf),
        "bf": str(encoding.num_b_frames),
        "g": str(encoding.gop_frames),
        "threads": "1",
        "x264-params": "b-adapt=0:scenecut=0",
    }
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=encoding.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = encoding.width_px, encoding.height_px, "yuv420p"
        stream.thread_count = 1
        for pixels in render_frames(truth):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def _texture(background: Background, *, width: int, height: int, stage: int) -> NDArray[np.uint8]:
    """The texture on a canvas large enough to slide the frame's window over it."""
    reach = _reach(background, stage)
    y, x = np.mgrid[0 : height + 2 * reach, 0 : width + 2 * reach] / stage
    rng = np.random.default_rng(background.seed)
    if background.texture == "striped":
        pattern = np.sign(np.sin(2 * math.pi * 5 * (x + 0.6 * y)))
    elif background.texture == "checked":
        pattern = np.sign(np.sin(2 * math.pi * 3 * x) * np.sin(2 * math.pi * 3 * y))
    elif background.texture == "spotted":
        pattern = np.where(np.hypot((x * 6) % 1 - 0.5, (y * 6) % 1 - 0.5) < 0.27, 1.0, -0.6)
    else:
        pattern = np.zeros_like(x)
        for _ in range(6):
            fx, fy, phase = rng.uniform(-2.2, 2.2), rng.uniform(-2.2, 2.2), rng.uniform(0, 2 * math.pi)
            pattern += 0.45 * np.sin(2 * math.pi * (fx * x + fy * y) + phase)
    grain = rng.normal(0, 3.0, size=pattern.shape)
    shade = (_CONTRAST * pattern + grain)[..., None] + np.array(background.tint, dtype=np.float64)
    return np.asarray(np.clip(np.rint(shade), 0, 255), dtype=np.uint8)


def _reach(background: Background, stage: int) -> int:
    return math.ceil(stage * max(abs(background.drift[0]), abs(background.drift[1]))) + 1


def _window(
    canvas: NDArray[np.uint8], background: Background, *, time: float, stage: int, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    reach = _reach(background, stage)
    x = reach - round(background.drift[0] * time * stage)
    y = reach - round(background.drift[1] * time * stage)
    return canvas[y : y + shape[0], x : x + shape[1]]


def _stamp(item: SceneObject, stage: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Anti-aliased coverage (side, side, 1) and colour (3,) of an object."""
    radius = RADIUS[item.size] * stage
    side = 2 * math.ceil(radius) + 1
    ticks = (np.arange(side * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - side / 2
    y, x = np.meshgrid(ticks / radius, ticks / radius, indexing="ij")
    turn = math.radians(item.angle_degrees)
    inside = _is_inside(item.shape, x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn))
    alpha = inside.reshape(side, _SUPERSAMPLING, side, _SUPERSAMPLING).mean(axis=(1, 3))
    return alpha[..., None].astype(np.float32), np.array(COLOURS[item.colour], dtype=np.float32)


def _is_inside(shape: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Membership of points in a shape that fills the unit disc."""
    if shape == "circle":
        return np.asarray(x**2 + y**2 <= 0.9)
    if shape == "square":
        return np.asarray(np.maximum(abs(x), abs(y)) <= 0.8)
    if shape == "cross":
        return np.asarray((np.maximum(abs(x), abs(y)) <= 0.98) & (np.minimum(abs(x), abs(y)) <= 0.3))
    points = 3 if shape == "triangle" else 10
    radii = np.where(np.arange(points) % 2 == 1, 0.42, 1.0) if shape == "star" else np.ones(points)
    angles = -math.pi / 2 + 2 * math.pi * np.arange(points) / points
    return _is_inside_polygon(x, y, radii * np.cos(angles), radii * np.sin(angles))


def _is_inside_polygon(
    x: NDArray[np.float64], y: NDArray[np.float64], corners_x: NDArray[np.float64], corners_y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Even-odd rule."""
    inside = np.zeros(x.shape, dtype=bool)
    for k in range(len(corners_x)):
        x1, y1, x2, y2 = corners_x[k - 1], corners_y[k - 1], corners_x[k], corners_y[k]
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def _blend(
    frame: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    paint: NDArray[np.float32],
    *,
    x_px: float,
    y_px: float,
) -> None:
    """Paint a stamp centred at a point into `frame`, in place, cut at the frame's edges."""
    side = alpha.shape[0]
    left, top = round(x_px - side / 2), round(y_px - side / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, frame.shape[1]), min(top + side, frame.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    cover = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    region = frame[y0:y1, x0:x1]
    region[...] = np.rint(region + cover * (paint - region)).astype(np.uint8)
