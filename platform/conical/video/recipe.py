"""What determines the pixels of a clip's frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from conical.core.hashing import stable_hash
from conical.core.options import Options, require, require_choice
from conical.video.sampling import SAMPLERS

# Raised whenever the same options would give other pixels, so that old stores are never mistaken for new ones.
RECIPE_VERSION = 1
CODECS = ("raw", "jpeg")
DECODERS = ("auto", "pyav", "decord", "torchcodec")


@dataclass(frozen=True, kw_only=True)
class FrameRecipe(Options):
    """How frames are sampled, resized and stored.

    Args:
        num_frames: frames a clip, >= 1.
        size: side of the stored square in px, 8 to 4096; the short side is resized to it, the centre is kept.
        sampler: `uniform` or `segment_centre`.
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
    codec: str = "raw"
    jpeg_quality: int = 95
    decoder: str = "auto"

    def __post_init__(self) -> None:
        require(self.num_frames >= 1, f"num_frames must be >= 1, got {self.num_frames}")
        require(8 <= self.size <= 4096, f"size must be from 8 to 4096 px, got {self.size}")
        require_choice("sampler", self.sampler, SAMPLERS)
        require_choice("codec", self.codec, CODECS)
        require(1 <= self.jpeg_quality <= 100, f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}")
        if ":" not in self.decoder:
            require_choice("decoder", self.decoder, DECODERS)

    @property
    def hash(self) -> str:
        """Content address of the recipe: equal for recipes that give equal pixels."""
        fields = asdict(self)
        if self.codec == "raw":
            del fields["jpeg_quality"]
        return stable_hash({"version": RECIPE_VERSION, **fields})
