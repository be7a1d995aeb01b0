"""Videos to exact frames: probe, sampling arithmetic, decoding, and decoding under a deadline."""

from conical.video.backends.backend import Backend, DecodedFrame
from conical.video.deadline import DecodeProcess
from conical.video.decode import BACKENDS, sample_frames
from conical.video.geometry import Orientation, centre_square
from conical.video.media import local_media, media_fingerprint
from conical.video.probe import VideoInfo, probe
from conical.video.recipe import FrameRecipe
from conical.video.sampling import (
    SAMPLERS,
    SamplingRequest,
    random_segment,
    sample_indices,
    segment_centre,
    window_span,
)

__all__ = [
    "BACKENDS",
    "SAMPLERS",
    "Backend",
    "DecodeProcess",
    "DecodedFrame",
    "FrameRecipe",
    "Orientation",
    "SamplingRequest",
    "VideoInfo",
    "centre_square",
    "local_media",
    "media_fingerprint",
    "probe",
    "random_segment",
    "sample_frames",
    "sample_indices",
    "segment_centre",
    "window_span",
]
