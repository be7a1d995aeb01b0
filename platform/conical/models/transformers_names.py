"""The weights of transformers' `CLIPModel` under the names of open_clip's `CLIP`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_MARK = "text_model.embeddings.token_embedding.weight"
_NAMES = (
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # the misspelling is theirs
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.self_attn\.", ".attn."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, join the three projections of each attention, transpose the two of the model; others pass through.

    Args:
        state: of any model; only a `CLIPModel`'s has the names that are changed.
    """
    prefix = next((key.removesuffix(_MARK) for key in state if key.endswith(_MARK)), None)
    if prefix is None:
        return dict(state)
    renamed = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        for pattern, words in _NAMES:
            name = re.sub(pattern, words, name)
        renamed[name] = value.T if name in ("text_projection", "visual.proj") else value
    return _join_attention(renamed)


def _join_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    joined = {}
    for key, value in state.items():
        found = re.fullmatch(r"(.*\.attn)\.([qkv])_proj\.(weight|bias)", key)
        if found is None:
            joined[key] = value
        elif found[2] == "q":
            parts = [state.get(f"{found[1]}.{part}_proj.{found[3]}") for part in "qkv"]
            joined[f"{found[1]}.in_proj_{found[3]}"] = torch.cat([part for part in parts if part is not None])
    return joined
