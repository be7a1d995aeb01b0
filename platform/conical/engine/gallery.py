"""The gallery of `captioned-gallery`: frames joined with supplements that were written from the video alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.captioning import Prompt
from conical.core.errors import ProtocolError


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

    >>> frames, supplements = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    >>> fuse_gallery(frames, supplements, weight=0.5).mul(100).round().tolist()
    [[71.0, 71.0], [0.0, 100.0]]
    """
    has_supplement = supplements.abs().sum(dim=1, keepdim=True) > 0
    fused = torch.where(has_supplement, (1 - weight) * frames + weight * supplements, frames)
    return F.normalize(fused, dim=-1)


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
