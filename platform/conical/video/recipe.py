"""What determines the pixels of a clip's frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from conical.core.hashing import stable_hash
from conical.core.options import Options, require, require_choice
from conical.video.sampling import SAMPLERS

# Raised whenever the same options would give other pixels, so that old stores are never mistaken for new ones.
# 2: mirrored pictures are turned right; times of H.264 in AVI and after a cut open GOP are in the order shown.
RECIPE_VERSION = 2
CODECS = ("raw", "jpeg")
DECODERS = ("auto", "pyav", "decord", "torchcodec")


@dataclass(frozen=True, kw_only=True)
class FrameRecipe(Options):
    """How frames are sampled, resized and stored.

    Args:
        num_frames: frames per clip, >= 1.
        size: side of the stored square in px, 8 to 4096; the short side is resized to it, the centre is kept.
        sampler: `uniform` (first and last included), `segment_centre`, `random_segment` (one frame of each segment) or
            `fps` (`sample_fps` frames per second from the start; `num_frames` of them, spread evenly, where there are
            more).
        sample_fps: frames per second, above 0, at most 240; read by the `fps` sampler only.
        sampler_seed: of the random choice, >= 0, together with file name and window; read by `random_segment` only.
        codec: `raw` (exact uint8) or `jpeg` (smaller, lossy).
        jpeg_quality: 1 to 100, read by the `jpeg` codec only.
        decoder: `auto` (the fastest that is exact on the file), `pyav`, `decord`, `torchcodec`, or
            `package.module:Name` of a backend from outside.

    Raises:
        ValueError: a value is out of range.
    """

    num_frames: int = 10
    size: int = 224
    sampler: str = "uniform"
    sample_fps: float = 1.0
    sampler_seed: int = 0
    codec: str = "raw"
    jpeg_quality: int = 95
    decoder: str = "auto"

    def __post_init__(self) -> None:
        require(self.num_frames >= 1, f"num_frames must be >= 1, got {self.num_frames}")
        require(8 <= self.size <= 4096, f"size must be from 8 to 4096 px, got {self.size}")
        require_choice("sampler", self.sampler, SAMPLERS)
        require(0 < self.sample_fps <= 240, f"sample_fps must be above 0 and at most 240, got {self.sample_fps}")
        require(self.sampler_seed >= 0, f"sampler_seed must be >= 0, got {self.sampler_seed}")
        require_choice("codec", self.codec, CODECS)
        require(1 <= self.jpeg_quality <= 100, f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}")
        if ":" not in self.decoder:
            require_choice("decoder", self.decoder, DECODERS)

    @property
    def hash(self) -> str:
        """Content address of the recipe: equal for recipes that give equal pixels."""
        unread = {
            "jpeg_quality": self.codec == "raw",
            "sample_fps": self.sampler != "fps",
            "sampler_seed": self.sampler != "random_segment",
        }
        fields = {name: value for name, value in asdict(self).items() if not unread.get(name, False)}
        return stable_hash({"version": RECIPE_VERSION, **fields})
