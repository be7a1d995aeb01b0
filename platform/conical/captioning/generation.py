"""How long and how freely a captioner writes."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.hashing import canonical_json
from conical.core.options import Options, require


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(Options):
    """Settings of text generation.

    Args:
        max_new_tokens: limit of generated tokens, >= 1; a text that meets it is marked as truncated.
        temperature: 0 takes the likeliest token (greedy); above 0 samples, at most 2.
        top_p: when sampling, the probability mass of the likeliest tokens kept, in (0, 1].
        seed: when sampling, the seed; each text has its own generator, keyed by this seed and the text's key.

    Raises:
        ValueError: a value is out of range.
    """

    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, f"max_new_tokens must be >= 1, got {self.max_new_tokens}")
        require(
            0 <= self.temperature <= 2,
            f"temperature must be between 0 (greedy) and 2, got {self.temperature}",
        )
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, got {self.top_p}")
        require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def to_json(self) -> str:
        """JSON of the settings that determine the text; greedy text depends on neither `top_p` nor `seed`.

        >>> GenerationOptions(seed=1).to_json() == GenerationOptions(seed=2).to_json()
        True
        """
        settings: dict[str, float] = {"max_new_tokens": self.max_new_tokens, "temperature": float(self.temperature)}
        if not self.is_greedy:
            settings |= {"top_p": float(self.top_p), "seed": self.seed}
        return canonical_json(settings)
