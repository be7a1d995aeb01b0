"""What a protocol decides. The base decides as `raw` does; a row overrides what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conical.captioning.prompts import Prompt
from conical.core.hashing import stable_hash
from conical.metrics.names import require_word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from conical.engine.embedded import EmbeddedData
    from conical.engine.embedding import EmbeddedTexts
    from conical.engine.options import EvaluateOptions


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What query and gallery are made of; as it is, the dataset's captions against frames.

    Args:
        name: the part of a metric's name: lower case letters, digits and hyphens.
        options: fields of `[evaluate]` that change its numbers.
        splits: splits whose data its numbers depend on, whatever split is scored.
        uses_target: the queries are written with the answer at hand, as no deployed system can; tables say so.
    """

    name: str
    options: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    uses_target: bool = False

    def __post_init__(self) -> None:
        require_word("protocol", self.name)

    def prompts(self, options: EvaluateOptions) -> tuple[str, ...]:
        """Ids of the prompts whose supplements it reads."""
        return ()

    def refuse(self, captioned: Sequence[Prompt], options: EvaluateOptions) -> None:
        """Refuse prompts that it cannot use, before anything is scored.

        Args:
            captioned: all prompts that were captioned.

        Raises:
            ProtocolError: a gallery would hold its query, or a prompt was not captioned.
        """

    def texts(self, data: EmbeddedData, split: str) -> tuple[tuple[str, ...], ...]:
        """The queries of a split, each the tuple of its pieces, in the dataset's order."""
        return data.split(split).texts

    def scores(self, data: EmbeddedData, texts: EmbeddedTexts, split: str) -> NDArray[np.float32]:
        """(text, video) scores of any texts with the entries that a split's queries rank, in its order of videos."""
        return data.score(texts, data.frames(split))

    def settings(self, data: EmbeddedData, split: str) -> dict[str, Any]:
        """What determines the scores beside the encoder and the data, and how it was chosen; stored with them."""
        return {}

    def hashes(self, data: EmbeddedData, split: str) -> dict[str, str]:
        """Content addresses of what it adds to the dataset's queries and gallery; stored with the scores."""
        prompts = self.prompts(data.options)
        if not prompts:
            return {}
        return {"supplements": stable_hash([row.key for row in data.supplement_rows(split, prompts)])}

    def note(self, settings: Mapping[str, Any]) -> str:
        """What a reader must know of the scores, in words; "" for nothing.

        Args:
            settings: as `settings` gave them.
        """
        return ""
