"""Prompts as versioned text. A caption's key holds the hash of its prompt, so an edited prompt never reuses old rows.

The three levels are those of [CEO25] (`docs/method.md` 3): A supplements the human caption and is given it, B is brief
with details, C is simple. B and C see the video alone, which is why only they may enter a gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.hashing import stable_hash


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt.

    Args:
        id: short name, used in configs, mixes and metrics.
        version: raised whenever the text changes.
        text: what the model is asked; `{caption}` is replaced by the human caption.
        reads_human_caption: whether the answer may depend on the human caption.
    """

    id: str
    version: int
    text: str
    reads_human_caption: bool

    def __post_init__(self) -> None:
        assert ("{caption}" in self.text) == self.reads_human_caption, self.id

    @property
    def hash(self) -> str:
        """Content address of the prompt."""
        return stable_hash({"id": self.id, "version": self.version, "text": self.text})

    def render(self, caption: str | None) -> str:
        """The text for one clip.

        Raises:
            ValueError: the prompt reads the human caption and none is given.
        """
        if not self.reads_human_caption:
            return self.text
        if not caption:
            raise ValueError(f"prompt {self.id} reads the human caption, but the clip has none")
        return self.text.replace("{caption}", caption)


PROMPTS: dict[str, Prompt] = {
    "A": Prompt(
        id="A",
        version=1,
        text='Someone described this video as: "{caption}" Write a new caption that supplements it with layers of '
        "detail and interpretation that are not evident in the original.",
        reads_human_caption=True,
    ),
    "B": Prompt(
        id="B",
        version=1,
        text="Write a brief caption of this video that includes its details and describes them succinctly.",
        reads_human_caption=False,
    ),
    "C": Prompt(
        id="C",
        version=1,
        text="Describe this video.",
        reads_human_caption=False,
    ),
}
