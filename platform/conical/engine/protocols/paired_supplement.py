"""`paired-supplement`: each caption joined with a supplement of its own target video, against frames.

It needs to know the answer before the question is asked; its only use is to examine published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conical.captioning.prompts import Prompt
from conical.core.errors import ProtocolError
from conical.engine.protocols.protocol import Protocol

if TYPE_CHECKING:
    from conical.engine.embedded import EmbeddedData
    from conical.engine.options import EvaluateOptions


class _PairedSupplement(Protocol):
    def prompts(self, options: EvaluateOptions) -> tuple[str, ...]:
        return options.paired_prompts

    def refuse(self, captioned: Sequence[Prompt], options: EvaluateOptions) -> None:
        known = [prompt.id for prompt in captioned]
        for prompt_id in options.paired_prompts:
            if prompt_id not in known:
                raise ProtocolError(
                    f"{self.name} wants supplements of prompt {prompt_id}, but captions.prompts is "
                    f"{', '.join(known)}: choose evaluate.paired_prompts from those"
                )

    def texts(self, data: EmbeddedData, split: str) -> tuple[tuple[str, ...], ...]:
        return data.once((self.name, "texts", split), lambda: self._paired(data, split))

    def _first(self, data: EmbeddedData, split: str) -> dict[str, dict[str, str]]:
        """Video id to prompt id to the first supplement."""
        first: dict[str, dict[str, str]] = {}
        for row in data.supplement_rows(split, data.options.paired_prompts):
            first.setdefault(row.video_id, {}).setdefault(row.prompt_id, row.text)
        return first

    def _paired(self, data: EmbeddedData, split: str) -> tuple[tuple[str, ...], ...]:
        prompts, queries, first = data.options.paired_prompts, data.split(split), self._first(data, split)
        paired = []
        for text, video in zip(queries.texts, queries.text_video, strict=True):
            written = first.get(queries.video_ids[video], {})
            added = [written[prompt] for prompt in prompts if prompt in written]
            paired.append(data.pieces(join_sentences(" ".join(text), *added)))
        return tuple(paired)

    def settings(self, data: EmbeddedData, split: str) -> dict[str, Any]:
        prompts, first = data.options.paired_prompts, self._first(data, split)
        lacking = sum(len(first.get(video_id, {})) < len(prompts) for video_id in data.split(split).video_ids)
        return {"paired": {"prompts": prompts, "uses_target_video": True, "videos_lacking_supplements": lacking}}

    def note(self, settings: Mapping[str, Any]) -> str:
        paired = settings["paired"]
        number = paired["videos_lacking_supplements"]
        lacking = f"; {number} {'video lacks' if number == 1 else 'videos lack'} one" if number else ""
        return f"supplement {', '.join(paired['prompts'])} of the target video in the query{lacking}"


def join_sentences(*texts: str) -> str:
    """Texts one after the other, each ended by a mark, so that a long query is split between them first.

    >>> join_sentences("a dog runs", "The dog is brown.")
    'a dog runs. The dog is brown.'
    """
    ended = [text if text.rstrip().endswith((".", "!", "?", "。")) else f"{text.rstrip()}." for text in texts[:-1]]
    return " ".join([*ended, texts[-1]])


PAIRED_SUPPLEMENT = _PairedSupplement(name="paired-supplement", options=("paired_prompts",), uses_target=True)
