"""`captioned-gallery`: the dataset's captions against frames joined with supplements written from the video alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from conical.captioning.prompts import Prompt
from conical.core.errors import ProtocolError
from conical.engine.protocols.protocol import Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from conical.engine.embedded import EmbeddedData
    from conical.engine.embedding import EmbeddedTexts
    from conical.engine.options import EvaluateOptions
    from conical.engine.selection import FusionChoice


class _CaptionedGallery(Protocol):
    def prompts(self, options: EvaluateOptions) -> tuple[str, ...]:
        return options.gallery_prompts

    def refuse(self, captioned: Sequence[Prompt], options: EvaluateOptions) -> None:
        refuse_leaking_prompts(captioned, options.gallery_prompts)

    def scores(self, data: EmbeddedData, texts: EmbeddedTexts, split: str) -> NDArray[np.float32]:
        return self._scores(data, texts, split, weight=self._choice(data).weight)

    def _scores(self, data: EmbeddedData, texts: EmbeddedTexts, split: str, *, weight: float) -> NDArray[np.float32]:
        """One fused vector of a video where the head compares vectors, else a weighted mean of two scores."""
        from conical.engine.embedding import cosines

        frames, supplements = data.frames(split), self._supplements(data, split)
        if data.has_vectors:
            return cosines(texts.vectors, fuse_gallery(frames["clip"], supplements, weight=weight))
        by_frames = data.once((self.name, "by frames", texts, split), lambda: data.score(texts, frames))
        if data.caption_weight is None:
            by_supplements = cosines(texts.vectors, unit_or_zero(supplements))
        else:
            captioned = data.captioned(split, data.options.gallery_prompts)
            by_supplements = data.once(
                (self.name, "by captions", texts, split), lambda: data.score_captions(texts, captioned)
            )
        return fuse_scores(by_frames, by_supplements, has_supplement=_has_supplement(supplements), weight=weight)

    def settings(self, data: EmbeddedData, split: str) -> dict[str, Any]:
        mute = int((~_has_supplement(self._supplements(data, split))).sum())
        chosen = {**asdict(self._choice(data)), "prompts": data.options.gallery_prompts}
        return {"fusion": {**chosen, "videos_without_supplement": mute}}

    def note(self, settings: Mapping[str, Any]) -> str:
        fusion = settings["fusion"]
        prompts, mute = ", ".join(fusion["prompts"]), fusion["videos_without_supplement"]
        lacking = f"; {mute} {'video has' if mute == 1 else 'videos have'} no supplement" if mute else ""
        return f"supplements {prompts} weigh {fusion['weight']:g} in the gallery, chosen on {fusion['split']}{lacking}"

    def _supplements(self, data: EmbeddedData, split: str) -> Tensor:
        return data.mean_supplements(split, data.options.gallery_prompts)

    def _choice(self, data: EmbeddedData) -> FusionChoice:
        """The share of the supplements, chosen on val whatever split is scored."""

        def choose() -> FusionChoice:
            from conical.engine.selection import SelectionSet, choose_fusion_weight

            learnt = data.caption_weight
            val = SelectionSet.of(data.split("val"))
            texts = data.texts(val.texts)
            return choose_fusion_weight(
                val,
                scores_at=lambda weight: self._scores(data, texts, "val", weight=weight),
                weights=(*data.options.fusion_weights, *(() if learnt is None else (round(learnt, 4),))),
            )

        return data.once((self.name, "fusion"), choose)


def fuse_gallery(frames: Tensor, supplements: Tensor, *, weight: float) -> Tensor:
    """Embeddings of the gallery: `normalise((1 - w) frames + w supplements)`.

    Args:
        frames: (video, dim), unit length.
        supplements: (video, dim), the mean of the unit embeddings of each video's supplements, not normalised: where
            they disagree they count for less. A row of zeros where a video has none; it keeps its frames.
        weight: w, share of the supplements, in [0, 1].

    Returns:
        (video, dim), unit length.

    Two orthogonal directions in equal shares; the second video has no supplement:

    >>> import torch
    >>> frames, supplements = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    >>> fuse_gallery(frames, supplements, weight=0.5).mul(100).round().tolist()
    [[71.0, 71.0], [0.0, 100.0]]
    """
    import torch
    import torch.nn.functional as F  # noqa: N812  the field's usual name

    has_supplement = _has_supplement(supplements)[:, None]
    fused = torch.where(has_supplement, (1 - weight) * frames + weight * supplements, frames)
    return F.normalize(fused, dim=-1)


def fuse_scores(
    by_frames: NDArray[np.float32], by_supplements: NDArray[np.float32], *, has_supplement: Tensor, weight: float
) -> NDArray[np.float32]:
    """`(1 - w) s_frames + w s_supplements`, for heads that have no single vector per video.

    Args:
        by_frames: (text, video) scores of the head.
        by_supplements: (text, video) cosines with the mean supplement.
        has_supplement: (video,); one without keeps its score by frames.
        weight: w, in [0, 1].
    """
    share: NDArray[np.float32] = (weight * has_supplement.float()).numpy()
    return (1 - share) * by_frames + share * by_supplements


def unit_or_zero(rows: Tensor) -> Tensor:
    """Rows brought to unit length; a row of zeros stays one."""
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp(min=1e-12)


def _has_supplement(supplements: Tensor) -> Tensor:
    return supplements.abs().sum(dim=1) > 0


def refuse_leaking_prompts(prompts: Sequence[Prompt], wanted: Sequence[str]) -> None:
    """Refuse supplements in a gallery that were written with a human caption at hand: that caption is a query.

    Args:
        prompts: all prompts that were captioned.
        wanted: ids of those whose supplements are to join the gallery.

    Raises:
        ProtocolError: one of them reads the human caption, or is not captioned.
    """
    known = {prompt.id: prompt for prompt in prompts}
    allowed = [prompt.id for prompt in prompts if not prompt.reads_human_caption]
    choice = f"choose evaluate.gallery_prompts from {', '.join(allowed) or 'none of the captioned ones'}"
    for prompt_id in wanted:
        if prompt_id not in known:
            raise ProtocolError(
                f"captioned-gallery wants supplements of prompt {prompt_id}, but captions.prompts is "
                f"{', '.join(known)}: {choice}"
            )
        if known[prompt_id].reads_human_caption:
            raise ProtocolError(
                f"captioned-gallery refuses supplements of prompt {prompt_id}: it reads the human caption, which is "
                f"the query, so the gallery would hold the answer; {choice}"
            )


CAPTIONED_GALLERY = _CaptionedGallery(
    name="captioned-gallery", options=("gallery_prompts", "fusion_weights"), splits=("val",)
)
