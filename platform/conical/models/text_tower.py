"""The text towers of open_clip on as few positions as a batch needs.

A batch of short captions fills a fraction of the context: CLIP's 77, or the 512 of a BERT. What stands behind the
last token that an embedding depends on is not computed where that is exact:

- causal towers pooled at the end-of-text token (CLIP, EVA-CLIP, CLIPA with HF tokenizers): nothing looks past it;
- Hugging Face towers: padding is masked in attention and in pooling.

Other towers (SigLIP's, bidirectional over the padding; CoCa's, pooled behind it) see the whole context.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def used_positions(clip: Any, tokens: Tensor) -> int:
    """How many of the first columns of `tokens` (T, context_length) decide the embeddings of all T texts."""
    tower = _tower(clip)
    if _is_hugging_face(tower):
        used = (tokens != tower.config.pad_token_id).any(dim=0).nonzero()
        return int(used.max()) + 1 if len(used) else 1
    if _is_causal(tower):
        return int(_pooled_positions(tower, tokens).max()) + 1
    return tokens.shape[1]


def encode_tokens(clip: Any, tokens: Tensor) -> Tensor:
    """(T, dim) embeddings, not normalised, of tokens that were cut as `used_positions` allows."""
    tower = _tower(clip)
    if _is_hugging_face(tower) or not _is_causal(tower) or tokens.shape[1] == tower.attn_mask.shape[0]:
        encoded: Tensor = clip.encode_text(tokens)
        return encoded
    hidden = _causal_hidden(tower, tokens)
    return _projected(tower, hidden[torch.arange(len(tokens), device=tokens.device), _pooled_positions(tower, tokens)])


def has_words(clip: Any) -> bool:
    """Whether `encode_words` knows this text tower."""
    tower = _tower(clip)
    return _is_hugging_face(tower) or _is_causal(tower)


def encode_words(clip: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sentence's embedding and that of each token, in the space of the sentence's, of cut tokens.

    Args:
        tokens: (T, L).

    Returns:
        (T, dim) sentences as of `encode_tokens`; (T, L, dim) tokens, marks included; (T, L) whether a position holds a
        token of the text.
    """
    tower = _tower(clip)
    if _is_hugging_face(tower):
        is_word = tokens != tower.config.pad_token_id
        out = tower.transformer(input_ids=tokens, attention_mask=is_word.long())
        pooled = tower.pooler(out, is_word.long())
        return tower.proj(pooled), tower.proj(out.last_hidden_state), is_word
    assert _is_causal(tower)
    hidden = _causal_hidden(tower, tokens)
    ends = _pooled_positions(tower, tokens)
    words = _projected(tower, hidden)
    is_word = torch.arange(tokens.shape[1], device=tokens.device) <= ends[:, None]
    return words[torch.arange(len(tokens), device=tokens.device), ends], words, is_word


def _causal_hidden(tower: Any, tokens: Tensor) -> Tensor:
    """(T, L, width) after the last norm; open_clip's own takes only the whole context: its causal mask is not cut."""
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x_TLD = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)  # noqa: N806
    x_TLD = tower.transformer(x_TLD, attn_mask=tower.attn_mask[:length, :length])  # noqa: N806
    hidden: Tensor = tower.ln_final(x_TLD)
    return hidden


def _projected(tower: Any, hidden: Tensor) -> Tensor:
    projection = tower.text_projection
    if projection is None:
        return hidden
    projected: Tensor = projection(hidden) if isinstance(projection, nn.Linear) else hidden @ projection
    return projected


def vocabulary_size(clip: Any) -> int:
    """Rows of the token embedding."""
    tower = _tower(clip)
    embedding = tower.transformer.get_input_embeddings() if _is_hugging_face(tower) else tower.token_embedding
    return int(embedding.num_embeddings)


def _tower(clip: Any) -> Any:
    """What embeds texts: a part of its own, or the CLIP itself (the first form of open_clip)."""
    return getattr(clip, "text", clip)


def _is_hugging_face(tower: Any) -> bool:
    return hasattr(tower, "config")


def _is_causal(tower: Any) -> bool:
    """Whether every token sees only those before it, and the embedding is taken at the end of the text."""
    return bool(
        tower.attn_mask is not None
        and _pool_type(tower) in ("argmax", "eos")
        and getattr(tower, "cls_emb", None) is None
    )


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "pool_type", None) or tower.text_pool_type)


def _pooled_positions(tower: Any, tokens: Tensor) -> Tensor:
    """(T,) the position that each text's embedding is taken at."""
    if _pool_type(tower) == "argmax":
        return tokens.argmax(dim=-1)  # end of text has the highest number; zero is both the padding and a real token
    eos = int(tower.eos_id if hasattr(tower, "eos_id") else tower.text_eos_id)
    return (tokens == eos).int().argmax(dim=-1)
